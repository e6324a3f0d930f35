// Memory that O_DIRECT accepts. A typed array of Node's own starts 16 bytes behind a page; the memory of a WebAssembly
// instance starts on a page, and nothing else in plain Node does.

declare const WebAssembly: { Memory: new (descriptor: { initial: number }) => { readonly buffer: ArrayBuffer } };

const WASM_PAGE_BYTES = 65536;
const SIZE_BYTES = 4 * 1024 * 1024;
let shared: Uint8Array | undefined;

/** The process's one transfer buffer, page aligned. Reads and writes are synchronous, so there is never a second user. */
export function alignedBuffer(): Uint8Array {
  shared ??= new Uint8Array(new WebAssembly.Memory({ initial: SIZE_BYTES / WASM_PAGE_BYTES }).buffer);
  return shared;
}
