// Structures of the kernel interface, declared once as data. All are in the machine's byte order, which this package
// requires to be little endian (native.ts refuses others), so DataView access says `true`.

const WIDTH = { u8: 1, u16: 2, u32: 4, s32: 4, u64: 8 } as const;

/** One scalar. `count` repeats it (an array or reserved space); only the first element is addressed by name. */
export interface Field {
  readonly type: keyof typeof WIDTH;
  readonly doc: string;
  readonly count?: number;
}
export interface Layout<K extends string = string> {
  readonly name: string;
  readonly size: number;
  readonly at: Readonly<Record<K, number>>;
}

/** Places the fields one after the other. Gaps are written out as fields; `size` restates the sum. */
export function layout<const F extends Record<string, Field>>(name: string, size: number, fields: F): Layout<keyof F & string> {
  let offset = 0;
  const at: Record<string, number> = {};
  for (const [field, spec] of Object.entries<Field>(fields)) {
    at[field] = offset;
    offset += WIDTH[spec.type] * (spec.count ?? 1);
  }
  if (offset !== size) throw new Error(`${name}: fields cover ${offset} bytes, declared ${size}`);
  return { name, size, at: at as Layout<keyof F & string>['at'] };
}

/** What the C compiler says about a structure: its size and the offsets of its fields. */
export interface CompiledLayout {
  readonly size: number;
  readonly at: Readonly<Record<string, number>>;
}

/**
 * Compares a table with the compiler's view of the same structure. Every field of the table must be known to the compiler.
 * @throws Error naming the first difference: then the addon and this package do not belong together
 */
export function assertLayout(table: Layout, compiled: CompiledLayout | undefined): void {
  if (compiled === undefined) throw new Error(`ublk_napi.node knows no structure ${table.name}; rebuild it`);
  if (compiled.size !== table.size) throw new Error(`${table.name}: ${compiled.size} bytes in C, ${table.size} in the table`);
  for (const [field, offset] of Object.entries(table.at)) {
    if (compiled.at[field] !== offset) throw new Error(`${table.name}.${field}: offset ${compiled.at[field]} in C, ${offset} in the table`);
  }
}

const TWO_32 = 0x1_0000_0000;

/** Reads a u64 as a double; exact below 2^53. */
export function getU64(view: DataView, at: number): number {
  return view.getUint32(at + 4, true) * TWO_32 + view.getUint32(at, true);
}

/** Reads a u64 of flags: those that a double has no room for beside the lowest ones are left out. */
export function getFlags(view: DataView, at: number): number {
  return (view.getUint32(at + 4, true) & 0x1f_ffff) * TWO_32 + view.getUint32(at, true);
}

/** Writes a non-negative integer below 2^53, or -1 (all ones), as a u64. */
export function putU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, Math.floor(value / TWO_32) >>> 0, true);
}
