// GNU getopt_long: options anywhere, abbreviated long options, clustered short ones, `--`. Messages as glibc prints them.

export interface OptionSpec {
  readonly long: string;
  readonly short?: string;
  readonly takesValue: boolean;
}
export type GetoptEvent =
  | { readonly type: 'option'; readonly option: OptionSpec; readonly value: string }
  | { readonly type: 'error'; readonly message: string };

export interface GetoptResult {
  readonly events: readonly GetoptEvent[];
  readonly operands: readonly string[];
  /** All arguments with the options moved to the front, as getopt leaves argv. */
  readonly permuted: readonly string[];
}

/** Reads `argv` (without program name). Events come in the order of the command line; after an error reading goes on. */
export function getoptLong(program: string, argv: readonly string[], options: readonly OptionSpec[], posixlyCorrect = false): GetoptResult {
  const events: GetoptEvent[] = [];
  const front: string[] = [];
  const operands: string[] = [];
  const error = (text: string): void => void events.push({ type: 'error', message: `${program}: ${text}\n` });
  let i = 0;
  while (i < argv.length) {
    const arg = argv[i++]!;
    if (arg === '--') {
      front.push(arg);
      break;
    }
    if (arg === '-' || !arg.startsWith('-')) {
      operands.push(arg);
      if (posixlyCorrect) break;
      continue;
    }
    front.push(arg);
    if (arg.startsWith('--')) {
      i += longOption(arg.slice(2), argv[i]);
    } else {
      i += shortOptions(arg.slice(1), argv[i]);
    }
  }
  operands.push(...argv.slice(i));
  return { events, operands, permuted: [...front, ...operands] };

  /** @returns how many further arguments were taken */
  function longOption(body: string, next: string | undefined): number {
    const equals = body.indexOf('=');
    const name = equals < 0 ? body : body.slice(0, equals);
    const exact = options.find((o) => o.long === name);
    const near = exact ? [exact] : options.filter((o) => o.long.startsWith(name));
    if (near.length === 0) {
      error(`unrecognized option '--${body}'`);
      return 0;
    }
    if (near.length > 1) {
      error(`option '--${body}' is ambiguous; possibilities: ${near.map((o) => `'--${o.long}'`).join(' ')}`);
      return 0;
    }
    const option = near[0]!;
    if (!option.takesValue) {
      if (equals >= 0) error(`option '--${option.long}' doesn't allow an argument`);
      else events.push({ type: 'option', option, value: '' });
      return 0;
    }
    if (equals >= 0) {
      events.push({ type: 'option', option, value: body.slice(equals + 1) });
      return 0;
    }
    if (next === undefined) {
      error(`option '--${option.long}' requires an argument`);
      return 0;
    }
    front.push(next);
    events.push({ type: 'option', option, value: next });
    return 1;
  }

  function shortOptions(cluster: string, next: string | undefined): number {
    for (let at = 0; at < cluster.length; at++) {
      const letter = cluster[at]!;
      const option = options.find((o) => o.short === letter);
      if (!option) {
        error(`invalid option -- '${letter}'`);
        continue;
      }
      if (!option.takesValue) {
        events.push({ type: 'option', option, value: '' });
        continue;
      }
      const rest = cluster.slice(at + 1);
      if (rest !== '') {
        events.push({ type: 'option', option, value: rest });
        return 0;
      }
      if (next === undefined) {
        error(`option requires an argument -- '${letter}'`);
        return 0;
      }
      front.push(next);
      events.push({ type: 'option', option, value: next });
      return 1;
    }
    return 0;
  }
}
