/** What drbdadm 9.34 prints otherwise than 9.22.0, as changes to the older one's output. */

export interface Printed {
  readonly rc: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Brings the output of 9.22.0 into the form of 9.34; leaves that of 9.34 alone but for what cannot be told apart. */
export function asNewer(printed: Printed, directory: string): Printed {
  const stdout = printed.stdout.replaceAll(directory, '@CONFDIR@').replace(/^drbdmeta .* repair-md\n/gm, '');
  const stderr = printed.stderr
    .replaceAll(directory, '@CONFDIR@')
    .replace(/\n {3}found __DRBD_NODE__ in environment\n {3}PRETENDING that I am >>.*<<\n\n/g, '')
    // Token numbers moved with new keywords.
    .replace(/ \(TK ([0-9]+)\)/g, ' (TK)')
    .replace(' | resync-without-replication | peer-tiebreaker', '')
    .replace(' | drbd8-api-compatibility', '')
    .replace(/at the same time\n\./g, 'at the same time.\n')
    .replace(/at the same time\n/g, 'at the same time.\n')
    // The older one looks at it more often, in another order.
    .replace(/^.*in resource .*:\n\tresource '.*' mentioned in 'resync-after' option is not known.*\n/gm, '')
    .replace(/(^.*in resource .*:\n\tresync-after contains '.*\n)\1+/gm, '$1')
    .replace(/(^Resource '.*' has no volume [0-9]+\n)\1+/gm, '$1')
    // Positions of messages that come after parsing.
    .replace(/^(?:@CONFDIR@\/)?x\.conf:[0-9]+: (?=in resource|Resource)/gm, 'x.conf: ');
  return { rc: printed.rc, stdout, stderr };
}
