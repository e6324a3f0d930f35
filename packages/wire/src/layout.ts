/** Binary structures as tables: one table feeds the encoder, the decoder, the hot accessors and the format page. */
import { accept, type Decoded, refuse } from './outcome.js';

/** Width in bytes of each scalar. All integers are big endian. `sectors` is a u64 that fits a double; `name64` a NUL padded string. */
const WIDTH = { u8: 1, u16: 2, u32: 4, s32: 4, u64: 8, sectors: 8, name64: 64, reserved48: 48 } as const;
export type FieldType = keyof typeof WIDTH;

export interface Field {
  readonly type: FieldType;
  readonly doc: string;
  /** Zero when created, preserved when rewritten; may be left out when encoding. */
  readonly reserved?: true;
}
export type Fields = Readonly<Record<string, Field>>;
export type Placed = Field & { readonly offset: number; readonly width: number };

export interface Layout<F extends Fields> {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  readonly at: { readonly [K in keyof F]: Placed };
  readonly fields: F;
}

type ValueOf<T extends FieldType> = T extends 'u64' ? bigint : T extends 'name64' ? string : T extends 'reserved48' ? Uint8Array : number;
type ReservedKeys<F extends Fields> = { [K in keyof F]: F[K] extends { readonly reserved: true } ? K : never }[keyof F];

/** A structure as a plain object, all fields present. */
export type Struct<F extends Fields> = { readonly [K in keyof F]: ValueOf<F[K]['type']> };
/** What an encoder needs: reserved fields may be left out. */
export type StructInput<F extends Fields> = { readonly [K in Exclude<keyof F, ReservedKeys<F>>]: ValueOf<F[K]['type']> } & {
  readonly [K in ReservedKeys<F>]?: ValueOf<F[K]['type']>;
};

/** The value type of a layout table: `StructOf<typeof P_STATE>`. */
export type StructOf<L> = L extends Layout<infer F> ? Struct<F> : never;

/**
 * Places the fields one after the other. Gaps are written out as fields, so nothing is implicit.
 * @param size - the total in bytes, restated so that a slip fails when the module loads
 */
export function layout<const F extends Fields>(name: string, size: number, fields: F): Layout<F> {
  let offset = 0;
  const at: Record<string, Placed> = {};
  for (const [field, spec] of Object.entries(fields)) {
    const width = WIDTH[spec.type];
    at[field] = { ...spec, offset, width };
    offset += width;
  }
  if (offset !== size) throw new Error(`${name}: fields cover ${offset} bytes, declared ${size}`);
  return { name, size, at: at as Layout<F>['at'], fields };
}

export const TWO_32 = 0x1_0000_0000;

/** Reads a u64 as a double without allocating; exact below 2^53, which every sector number is. */
export const readU64 = (view: DataView, at: number): number => view.getUint32(at) * TWO_32 + view.getUint32(at + 4);

/** Writes a non-negative safe integer as u64 without allocating. */
export function writeU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, Math.floor(value / TWO_32));
  view.setUint32(at + 4, value >>> 0);
}

/**
 * Text up to the first NUL of a fixed field.
 * @returns undefined when no NUL is found within `width` bytes
 */
export function readName(view: DataView, at: number, width: number): string | undefined {
  let text = '';
  for (let i = 0; i < width; i++) {
    const code = view.getUint8(at + i);
    if (code === 0) return text;
    text += String.fromCharCode(code);
  }
  return undefined;
}

/** Writes the low bytes of `text`, then NULs up to `width`. Throws when it leaves no room for one NUL: a caller's bug. */
export function writeName(view: DataView, at: number, width: number, text: string): void {
  if (text.length >= width) throw new RangeError(`name of ${text.length} bytes in a field of ${width}`);
  for (let i = 0; i < width; i++) view.setUint8(at + i, i < text.length ? text.charCodeAt(i) & 0xff : 0);
}

/**
 * Decodes the structure at `base`. Cold paths only: it walks the table and allocates.
 * @param end - first byte that does not belong to the packet any more
 */
export function decodeStruct<F extends Fields>(table: Layout<F>, view: DataView, base: number, end: number): Decoded<Struct<F>> {
  const limit = Math.min(end, view.byteLength);
  const value: Record<string, number | bigint | string | Uint8Array> = {};
  for (const [name, field] of Object.entries<Placed>(table.at)) {
    const at = base + field.offset;
    if (at < 0 || at + field.width > limit) return refuse(table.name, name, 'too short', Math.max(0, limit - base));
    switch (field.type) {
      case 'u8':
        value[name] = view.getUint8(at);
        break;
      case 'u16':
        value[name] = view.getUint16(at);
        break;
      case 'u32':
        value[name] = view.getUint32(at);
        break;
      case 's32':
        value[name] = view.getInt32(at);
        break;
      case 'u64':
        value[name] = view.getBigUint64(at);
        break;
      case 'sectors': {
        const sectors = readU64(view, at);
        if (!Number.isSafeInteger(sectors)) return refuse(table.name, name, 'out of range', view.getBigUint64(at));
        value[name] = sectors;
        break;
      }
      case 'name64': {
        const text = readName(view, at, field.width);
        if (text === undefined) return refuse(table.name, name, 'not terminated', field.width);
        value[name] = text;
        break;
      }
      case 'reserved48':
        value[name] = copyBytes(view, at, at + field.width);
        break;
    }
  }
  return accept(value as Struct<F>);
}

/** Writes the structure at `base`; reserved fields that are left out become zero. The caller has checked the room. */
export function encodeStruct<F extends Fields>(table: Layout<F>, view: DataView, base: number, input: StructInput<F>): void {
  const value = input as Readonly<Record<string, number | bigint | string | Uint8Array | undefined>>;
  for (const [name, field] of Object.entries<Placed>(table.at)) {
    const at = base + field.offset;
    const given = value[name];
    switch (field.type) {
      case 'u8':
        view.setUint8(at, (given as number | undefined) ?? 0);
        break;
      case 'u16':
        view.setUint16(at, (given as number | undefined) ?? 0);
        break;
      case 'u32':
        view.setUint32(at, (given as number | undefined) ?? 0);
        break;
      case 's32':
        view.setInt32(at, (given as number | undefined) ?? 0);
        break;
      case 'u64':
        view.setBigUint64(at, (given as bigint | undefined) ?? 0n);
        break;
      case 'sectors':
        writeU64(view, at, (given as number | undefined) ?? 0);
        break;
      case 'name64':
        writeName(view, at, field.width, (given as string | undefined) ?? '');
        break;
      case 'reserved48': {
        const bytes = given as Uint8Array | undefined;
        for (let i = 0; i < field.width; i++) view.setUint8(at + i, bytes?.[i] ?? 0);
        break;
      }
    }
  }
}

/** A copy of the bytes `from` up to but not including `end`. */
export const copyBytes = (view: DataView, from: number, end: number): Uint8Array =>
  new Uint8Array(view.buffer, view.byteOffset + from, end - from).slice();

/** Copies `bytes` into the view at `at`. */
export function putBytes(view: DataView, at: number, bytes: Uint8Array): void {
  new Uint8Array(view.buffer, view.byteOffset + at, bytes.length).set(bytes);
}
