/**
 * The rules of GNU getopt_long, on which scripts rely: options anywhere, unique prefixes of long options, `--name=value` and
 * `--name value`, bundled short options, `--` as the end of options. Messages are glibc's.
 */

export interface OptionSpec {
  readonly name: string;
  readonly short?: string;
  readonly argument: 'none' | 'required' | 'optional';
  /** Options of one family count as the same for getopt: the first of several that a prefix fits is taken. */
  readonly family?: string;
}

export interface GivenOption {
  /** Full name, also when it was abbreviated. */
  readonly name: string;
  readonly value: string | undefined;
}

export interface GetoptResult {
  readonly options: readonly GivenOption[];
  readonly operands: readonly string[];
  /** The first thing that is wrong; nothing behind it was looked at. */
  readonly error?: string;
}

type Found = OptionSpec | { readonly error: string };

function findLong(given: string, specs: readonly OptionSpec[]): Found {
  const exact = specs.find((s) => s.name === given);
  if (exact !== undefined) return exact;
  const candidates = specs.filter((s) => s.name.startsWith(given));
  const [first] = candidates;
  if (first === undefined) return { error: `unrecognized option '--${given}'` };
  const isSame = (s: OptionSpec) => s === first || (s.family !== undefined && s.family === first.family && s.argument === first.argument);
  const others = candidates.filter((c) => !isSame(c));
  if (others.length === 0) return first;
  return { error: `option '--${given}' is ambiguous; possibilities:${[first, ...others].map((c) => ` '--${c.name}'`).join('')}` };
}

/** @param words - the arguments behind the program's name */
export function getoptLong(words: readonly string[], specs: readonly OptionSpec[]): GetoptResult {
  const options: GivenOption[] = [];
  const operands: string[] = [];
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    if (word === '--') {
      operands.push(...words.slice(i + 1));
      break;
    }
    if (word.startsWith('--')) {
      const equals = word.indexOf('=');
      const given = equals < 0 ? word.slice(2) : word.slice(2, equals);
      const found = findLong(given, specs);
      if ('error' in found) return { options, operands, error: found.error };
      let value = equals < 0 ? undefined : word.slice(equals + 1);
      if (value !== undefined && found.argument === 'none')
        return { options, operands, error: `option '--${found.name}' doesn't allow an argument` };
      if (value === undefined && found.argument === 'required') {
        if (++i >= words.length) return { options, operands, error: `option '--${found.name}' requires an argument` };
        value = words[i]!;
      }
      options.push({ name: found.name, value });
      continue;
    }
    if (!word.startsWith('-') || word === '-') {
      operands.push(word);
      continue;
    }
    for (let at = 1; at < word.length; at++) {
      const letter = word[at]!;
      const spec = specs.find((s) => s.short === letter);
      if (spec === undefined) return { options, operands, error: `invalid option -- '${letter}'` };
      if (spec.argument === 'none') {
        options.push({ name: spec.name, value: undefined });
        continue;
      }
      let value: string | undefined = word.slice(at + 1);
      if (value === '') {
        if (spec.argument === 'required' && ++i >= words.length)
          return { options, operands, error: `option requires an argument -- '${letter}'` };
        value = spec.argument === 'required' ? words[i]! : undefined;
      }
      options.push({ name: spec.name, value });
      break;
    }
  }
  return { options, operands };
}
