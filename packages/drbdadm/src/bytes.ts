/**
 * Text of which every unit is one byte, as stock's C strings are: a byte from 0x80 on is the unit U+DC00 + byte, a lone surrogate that
 * no UTF-8 makes. So a file in whatever encoding comes out as it went in, and lengths, columns and cuts count bytes.
 */

const ESCAPE = 0xdc00;
const isEscaped = /[\udc80-\udcff]/;

export function asBytes(bytes: Buffer | string): string {
  const buffer = typeof bytes === 'string' ? Buffer.from(bytes) : bytes;
  const text = buffer.toString('latin1');
  return /[\x80-\xff]/.test(text) ? text.replace(/[\x80-\xff]/g, (c) => String.fromCharCode(ESCAPE + c.charCodeAt(0))) : text;
}

/** The bytes of a text that may have escaped ones, and characters of its own. */
export function toBuffer(text: string): Buffer {
  if (!isEscaped.test(text)) return Buffer.from(text);
  const pieces = text.split(/([\udc80-\udcff]+)/);
  return Buffer.concat(
    pieces.map((piece) => (isEscaped.test(piece) ? Buffer.from([...piece].map((c) => c.charCodeAt(0) - ESCAPE)) : Buffer.from(piece))),
  );
}

/** As other programs and the file system want it. Bytes that are no UTF-8 do not survive this. */
export const asText = (text: string): string => (isEscaped.test(text) ? toBuffer(text).toString() : text);
