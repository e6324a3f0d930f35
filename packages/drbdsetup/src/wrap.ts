/**
 * Word wrapping as status and help do it: text arrives as tokens that are never broken, each with the indent of the line it may begin.
 *
 * The indent does not count towards the width (a line may be that much longer), because stock counts from -1 after it.
 */
export interface Wrapper {
  /** A leading line break starts a new line; a leading space disappears at the beginning of one. */
  put(indent: number, token: string): void;
  text(): string;
}

export function createWrapper(width: number): Wrapper {
  let out = '';
  let column = 0;
  return {
    put(indent, token) {
      let rest = token;
      while (rest.startsWith('\n')) {
        out += '\n';
        column = 0;
        rest = rest.slice(1);
      }
      if (rest === '') return;
      if (column > 0 && column + Buffer.byteLength(rest) > width) {
        out += '\n';
        column = 0;
      }
      if (column === 0) {
        rest = rest.replace(/^ +/, '');
        out += ' '.repeat(indent);
        column = -1;
      }
      out += rest;
      column = rest.endsWith('\n') ? 0 : column + Buffer.byteLength(rest);
    },
    text: () => out,
  };
}
