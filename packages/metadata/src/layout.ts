// Binary layouts declared once, as data: encoder, decoder, tests and the format page read the same table.

/** Width in bytes of each scalar a meta-data structure may hold. All are big endian. */
const WIDTH = { u16: 2, u32: 4, i32: 4, u64: 8 } as const;

export interface Field {
  readonly type: keyof typeof WIDTH;
  readonly doc: string;
  readonly unit?: string;
  /** Number of consecutive elements; absent for a single one. */
  readonly count?: number;
  /** Size in bytes of one element when the elements are structures of their own, described by another table. */
  readonly recordBytes?: number;
}
export type Placed = Field & { readonly offset: number };
export interface Layout<K extends string = string> {
  readonly name: string;
  readonly size: number;
  readonly at: Readonly<Record<K, Placed>>;
}

/** Places the fields one after the other. Gaps are written out as fields, so nothing is implicit. */
export function layout<const F extends Record<string, Field>>(name: string, size: number, fields: F): Layout<keyof F & string> {
  let offset = 0;
  const at: Record<string, Placed> = {};
  for (const [field, spec] of Object.entries<Field>(fields)) {
    at[field] = { ...spec, offset };
    offset += (spec.recordBytes ?? WIDTH[spec.type]) * (spec.count ?? 1);
  }
  if (offset !== size) throw new Error(`${name}: fields cover ${offset} bytes, declared ${size}`);
  return { name, size, at: at as Layout<keyof F & string>['at'] };
}

/** Reads one scalar up to 32 bits wide. */
export function getNumber(view: DataView, base: number, field: Placed, index = 0): number {
  const at = base + field.offset + index * WIDTH[field.type];
  switch (field.type) {
    case 'u16':
      return view.getUint16(at);
    case 'i32':
      return view.getInt32(at);
    case 'u32':
      return view.getUint32(at);
    case 'u64':
      return view.getUint32(at) * 0x1_0000_0000 + view.getUint32(at + 4);
  }
}

/** Writes one scalar; a u64 given as a number must be a safe integer. Values wider than the field are truncated as C would. */
export function putNumber(view: DataView, base: number, field: Placed, value: number, index = 0): void {
  const at = base + field.offset + index * WIDTH[field.type];
  switch (field.type) {
    case 'u16':
      view.setUint16(at, value);
      break;
    case 'i32':
      view.setInt32(at, value);
      break;
    case 'u32':
      view.setUint32(at, value);
      break;
    case 'u64':
      view.setUint32(at, Math.floor(value / 0x1_0000_0000));
      view.setUint32(at + 4, value % 0x1_0000_0000);
  }
}

export const getBig = (view: DataView, base: number, field: Placed, index = 0): bigint =>
  view.getBigUint64(base + field.offset + index * 8);
export const putBig = (view: DataView, base: number, field: Placed, value: bigint, index = 0): void =>
  view.setBigUint64(base + field.offset + index * 8, value);

export const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
