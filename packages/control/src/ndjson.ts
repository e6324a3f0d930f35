/**
 * Newline-delimited JSON over a stream of text: one value a line, no line longer than a limit.
 *
 * Chunks are text, so a host that reads bytes decodes UTF-8 first (a character may be split between two reads).
 */

/** Longest request, counted in UTF-16 units without the line break. */
export const REQUEST_LINE_MAX = 1 << 20;
/** Longest answer: a snapshot of thousands of volumes fits. */
export const REPLY_LINE_MAX = 1 << 28;

/** One line of the stream: a JSON value, or why it is none. After `line-too-long` nothing more is decoded. */
export type DecodedLine =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly error: 'not-json' | 'line-too-long' };

export interface LineDecoder {
  /** @returns the lines that `text` completes; empty lines are skipped */
  push(text: string): DecodedLine[];
  /** Whether the beginning of a line waits for the rest. */
  readonly isInLine: boolean;
}

export function createLineDecoder(lineMax: number): LineDecoder {
  let pieces: string[] = [];
  let pending = 0;
  let dead = false;
  const take = (last: string): string => {
    if (pieces.length === 0) return last;
    pieces.push(last);
    const line = pieces.join('');
    pieces = [];
    pending = 0;
    return line;
  };
  return {
    get isInLine() {
      return pending > 0;
    },
    push(text) {
      const lines: DecodedLine[] = [];
      let from = 0;
      while (!dead) {
        const end = text.indexOf('\n', from);
        const length = (end < 0 ? text.length : end) - from;
        if (pending + length > lineMax) {
          dead = true;
          pieces = [];
          pending = 0;
          lines.push({ ok: false, error: 'line-too-long' });
          break;
        }
        if (end < 0) {
          if (length > 0) pieces.push(text.slice(from));
          pending += length;
          break;
        }
        const line = take(text.slice(from, end));
        if (line.trim() !== '') lines.push(decodeLine(line));
        from = end + 1;
      }
      return lines;
    },
  };
}

export function decodeLine(line: string): DecodedLine {
  try {
    return { ok: true, value: JSON.parse(line) as unknown };
  } catch {
    return { ok: false, error: 'not-json' };
  }
}

/** @returns the value as one line, line break included */
export const encodeLine = (value: object): string => `${JSON.stringify(value)}\n`;
