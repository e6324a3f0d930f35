/** What the fuzzer knows of a decoder. */
import { Prng } from './mutate.js';

/** A decoder that is ready to be fed. Each seed stands for one input: whatever is found is found again by its number. */
export interface Fuzzer {
  /** The input of a seed, for whoever looks at a finding. */
  input(seed: number): Uint8Array;
  /** @throws whatever is wrong: what the decoder throws although it may not, or a promise that it breaks */
  run(seed: number): void | Promise<void>;
  close?(): void;
}

export interface Target {
  readonly name: string;
  readonly what: string;
  /** Inputs of the short form. */
  readonly short: number;
  open(): Fuzzer | Promise<Fuzzer>;
}

/** @param show - bytes of an input, for the report */
export function fuzzer<T>(
  make: (prng: Prng) => T,
  check: (input: T) => void | Promise<void>,
  show: (input: T) => Uint8Array | string,
): Fuzzer {
  const inputOf = (seed: number): T => make(new Prng(seed));
  return {
    input: (seed) => {
      const shown = show(inputOf(seed));
      return typeof shown === 'string' ? new TextEncoder().encode(shown) : shown;
    },
    run: (seed) => check(inputOf(seed)),
  };
}

export class Broken extends Error {
  override readonly name = 'Broken';
}

/** A promise of the decoder. */
export function holds(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Broken(what);
}

export const asText = (value: unknown): string =>
  `${JSON.stringify(value, (_key, item: unknown) => (typeof item === 'bigint' ? `${item}n` : item), 1)}\n`;
