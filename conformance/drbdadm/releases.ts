/** What drbdadm 9.34 prints otherwise than 9.22.0, as changes to the output of both that leave only what must be equal. */

export interface Printed {
  readonly rc: number;
  readonly stdout: string;
  readonly stderr: string;
}

export type Release = '9.22.0' | '9.34';

export interface Situation {
  readonly release: Release;
  readonly argv: readonly string[];
  readonly directory: string;
}

const BANNER = /\n {3}found __DRBD_NODE__ in environment\n {3}PRETENDING that I am >>.*<<\n\n/g;

/** What stands in both outputs for reasons of its own. */
const plain = (printed: Printed, directory: string): Printed => ({
  rc: printed.rc,
  stdout: printed.stdout.replaceAll(directory, '@CONFDIR@'),
  stderr: printed.stderr.replaceAll(directory, '@CONFDIR@').replace(BANNER, ''),
});

/** Brings what both printed into a form in which they have to be equal. */
export function settle(stock: Printed, ours: Printed, { release, directory }: Situation): [Printed, Printed] {
  const both: [Printed, Printed] = [plain(stock, directory), plain(ours, directory)];
  if (release === '9.34') return both;
  return both;
}
