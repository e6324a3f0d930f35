/** Why bytes could not be taken as what they were said to be. `field` is the name in the layout table. */
export interface Damage {
  readonly field: string;
  readonly reason: string;
}
/** Decoders are total: any bytes give a value or a named damage; they never throw. */
export type Outcome<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: Damage };
export const accept = <T>(value: T): Outcome<T> => ({ ok: true, value });
export const damaged = (field: string, reason: string): Outcome<never> => ({ ok: false, error: { field, reason } });
