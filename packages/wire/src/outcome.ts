/** Results of decoding: a value, or a refusal that names the field. Decoders never throw on foreign bytes. */

/** Why bytes from the peer were not accepted. `structure` is DRBD's struct or packet name, `field` its member. */
export interface WireRefusal {
  readonly structure: string;
  readonly field: string;
  readonly problem: 'too short' | 'too long' | 'out of range' | 'not terminated' | 'not permitted' | 'mismatch' | 'unknown';
  /** What was found, for the log: a length in bytes or the value itself. */
  readonly found: number | bigint | string;
}

export type Decoded<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: WireRefusal };

export const accept = <T>(value: T): Decoded<T> => ({ ok: true, value });

export const refuse = (structure: string, field: string, problem: WireRefusal['problem'], found: WireRefusal['found']): Decoded<never> => ({
  ok: false,
  error: { structure, field, problem, found },
});

/** One line for the log, for example `p_sizes.d_size: out of range (found 18446744073709551615)`. */
export const refusalText = (error: WireRefusal): string => `${error.structure}.${error.field}: ${error.problem} (found ${error.found})`;
