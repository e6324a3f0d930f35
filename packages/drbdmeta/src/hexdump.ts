/** Bytes as `hexdump -C` shows them, except that the last line is printed even when it repeats the one before. */
export function hexdump(bytes: Uint8Array, baseOffset = 0): string {
  const lines: string[] = [];
  let previous = '';
  let isFolding = false;
  for (let at = 0; at < bytes.length; at += 16) {
    const row = bytes.subarray(at, at + 16);
    const isLast = at + 16 >= bytes.length;
    const key = row.join();
    if (key === previous && !isLast) {
      if (!isFolding) lines.push('*');
      isFolding = true;
      continue;
    }
    isFolding = false;
    previous = key;
    lines.push(hexdumpLine(baseOffset + at, row));
  }
  lines.push((baseOffset + bytes.length).toString(16).padStart(8, '0'));
  return `${lines.join('\n')}\n`;
}

function hexdumpLine(offset: number, row: Uint8Array): string {
  let hex = '';
  let ascii = '';
  for (let i = 0; i < 16; i++) {
    if (i === 8) hex += ' ';
    const byte = row[i];
    hex += byte === undefined ? '   ' : ` ${byte.toString(16).padStart(2, '0')}`;
    if (byte !== undefined) ascii += byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '.';
  }
  return `${offset.toString(16).padStart(8, '0')} ${hex}  |${ascii}|`;
}
