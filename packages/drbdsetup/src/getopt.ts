/**
 * The rules of GNU getopt_long, which scripts rely on: options and arguments in any order, abbreviated long options, values
 * attached with `=` or (required ones only) as the next word, clustered short options, `--` as the end of options.
 */
export interface LongOption {
  readonly name: string;
  readonly short?: string;
  readonly value: 'none' | 'required' | 'optional';
  /** A second name of another option. */
  readonly isAlias?: true;
}

export interface GivenOption {
  readonly name: string;
  /** Undefined when no value was attached. */
  readonly value: string | undefined;
}

export interface ParsedArguments {
  readonly options: readonly GivenOption[];
  readonly positionals: readonly string[];
}

/** @returns undefined when an option is unknown, ambiguous, lacks its value or has one it does not take */
export function parseArguments(words: readonly string[], known: readonly LongOption[]): ParsedArguments | undefined {
  const options: GivenOption[] = [];
  const positionals: string[] = [];
  for (let at = 0; at < words.length; at++) {
    const word = words[at]!;
    if (word === '--') {
      positionals.push(...words.slice(at + 1));
      break;
    }
    if (word.startsWith('--')) {
      const equals = word.indexOf('=');
      const option = findLong(equals < 0 ? word.slice(2) : word.slice(2, equals), known);
      let value = equals < 0 ? undefined : word.slice(equals + 1);
      if (option === undefined || (value !== undefined && option.value === 'none')) return undefined;
      if (value === undefined && option.value === 'required') {
        at += 1;
        value = words[at];
        if (value === undefined) return undefined;
      }
      options.push({ name: option.name, value });
    } else if (word.startsWith('-') && word !== '-') {
      for (let letter = 1; letter < word.length; letter++) {
        const option = known.find((candidate) => candidate.short === word[letter]);
        if (option === undefined) return undefined;
        if (option.value === 'none') {
          options.push({ name: option.name, value: undefined });
          continue;
        }
        let value: string | undefined = word.slice(letter + 1);
        if (value === '') value = undefined;
        if (value === undefined && option.value === 'required') {
          at += 1;
          value = words[at];
          if (value === undefined) return undefined;
        }
        options.push({ name: option.name, value });
        break;
      }
    } else {
      positionals.push(word);
    }
  }
  return { options, positionals };
}

/**
 * Like the original, an abbreviation is not ambiguous when the options it may stand for are alike for getopt: with the same kind of
 * value, and neither a short form. Then the first one is meant.
 */
function findLong(name: string, known: readonly LongOption[]): LongOption | undefined {
  const exact = known.find((option) => option.name === name);
  if (exact !== undefined) return exact;
  const [first, ...others] = known.filter((option) => option.name.startsWith(name));
  const isAlike = (option: LongOption): boolean =>
    option.value === first?.value && option.short === first.short && option.isAlias === first.isAlias;
  return others.every(isAlike) ? first : undefined;
}
