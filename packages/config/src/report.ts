/** How the reader tells what is wrong with a configuration. */

/** Where messages go, line by line or in blocks; each text ends with its newline. */
export type Report = (text: string) => void;

/** Ends the reading of a configuration at once; the message has been reported. Never leaves this package. */
export class Fatal extends Error {
  readonly exitCode: number;
  constructor(exitCode: number) {
    super(`configuration refused with exit code ${exitCode}`);
    this.exitCode = exitCode;
  }
}

/** Exit codes of drbdadm. */
export const EXIT = { ok: 0, usage: 1, configInvalid: 10, exec: 20, internal: 42 } as const;
