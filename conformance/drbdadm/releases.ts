/**
 * What drbdadm 9.34 does otherwise than the releases before it: the one table by which outputs of an older stock program are compared
 * with ours. A row either says that a case cannot be compared, or takes what differs out of both outputs.
 */

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
  readonly node: string;
  /** The texts of all files of the configuration. */
  readonly config: string;
}

interface Row {
  readonly why: string;
  /** The first release that does it the new way; absent = differs from every release. */
  readonly since?: string;
  /** Whether the two cannot be compared for this reason. */
  readonly apart?: (stock: Printed, situation: Situation) => boolean;
  /** Takes the difference out of what one of them printed; `command` is the drbdadm command. */
  readonly stderr?: (text: string, situation: Situation) => string;
  readonly stdout?: (text: string, situation: Situation) => string;
}

const without = (pattern: RegExp) => (text: string) => text.replace(pattern, '');
const isAdjust = ({ argv }: Situation): boolean => argv.includes('adjust');
const concernsProxies = ({ argv }: Situation): boolean => argv.some((word) => word === 'adjust' || word.startsWith('proxy-'));

/** Names made up for hosts known by address: both ways of writing them become one. */
const floatingNames = (text: string, { config }: Situation): string =>
  config.includes('floating')
    ? text.replace(/(?:ipv6 )?\\?\[([0-9a-zA-Z:.%]+)\\?\]:([0-9]+)|([0-9.]+):([0-9]+)\b/g, (whole, v6, v6Port, v4, v4Port) =>
        v6 === undefined && v4 === undefined ? whole : `${v6 ?? v4}_${v6Port ?? v4Port}`.replace(/[^0-9A-Za-z+\-._]/g, '_'),
      )
    : text;

const OPTION_LISTS = [' | resync-without-replication', ' | peer-tiebreaker', ' | drbd8-api-compatibility', ' | block-size'];

const ROWS: readonly Row[] = [
  { why: 'stock dies of a signal; ours tells what is wrong', apart: ({ rc }) => rc === -1 },
  {
    why: 'the options that a section takes, in messages',
    since: '9.34',
    stderr: (text) => OPTION_LISTS.reduce((t, name) => t.replaceAll(name, ''), text),
  },
  { why: 'token numbers moved with new keywords', since: '9.23', stderr: (text) => text.replace(/ \(TK [0-9]+\)/g, ' (TK)') },
  {
    why: 'the message of an ambiguous option ends behind its dot',
    since: '9.34',
    stderr: (text) => text.replace(/at the same time\n\./g, 'at the same time.\n').replace(/at the same time\n/g, 'at the same time.\n'),
  },
  {
    why: 'messages about hosts and volumes point at the resource',
    since: '9.34',
    stderr: (text) =>
      text
        .replace(/^[^\s:]+:[0-9]+: (?=in resource .*(?:volume [0-9]+ |must not mix|is given$))/gm, '')
        .replace(/^[^\s:]+:[0-9]+: (?=Resource .*cannot determine)/gm, ''),
  },
  {
    why: 'names made up for floating hosts have no colons',
    since: '9.23.0',
    stdout: floatingNames,
    stderr: floatingNames,
  },
  {
    why: 'device names of other forms than /dev/drbdN are spoken of differently',
    since: '9.34',
    stderr: (text) =>
      text
        .replace(/^.*arbitrary device names \(\/dev\/drbd_\.\.\.\)(?:.*\n){3}/gm, '')
        .replace(/^(.*): arbitrary device name must start with \/dev\/drbd_\n.*\n/gm, '$1: device name\n')
        .replace(/^(.*): explicit device names should be of the form .*\n/gm, '$1: device name\n'),
  },
  {
    why: 'an argument that does not fit is told of once more',
    since: '9.34',
    stderr: without(/^'.*' unexpected ctx_by_\* result r=-2\n/gm),
  },
  { why: 'meta-data is repaired before its first use', since: '9.24.0', stdout: without(/^drbdmeta .* repair-md\n/gm) },
  {
    why: 'adjust waits for connections, and goes by dependencies',
    since: '9.32.0',
    stdout: (text, situation) =>
      isAdjust(situation)
        ? [...new Set(text.split('\n'))]
            .filter((line) => !line.startsWith('drbdsetup wait-connect-connection'))
            .sort()
            .join('\n')
        : text,
  },
  {
    why: 'the running state is not looked over like a configuration',
    since: '9.34',
    stderr: (text, situation) =>
      isAdjust(situation)
        ? text
            .replace(/^drbdsetup show:[0-9]+/gm, 'drbdsetup show')
            .replace(/^.*There is a reference to a volume .*\n/gm, '')
            .replace(/^.*: in resource .*\n {4}\S+ is also used .*\n/gm, '')
        : text,
  },
  {
    why: 'an option that the older one does not know is running',
    since: '9.26.0',
    apart: ({ stderr }) => stderr.includes("but got 'load-balance-paths'"),
  },
  { why: 'sh-udev goes by the minor, whatever the device is called', since: '9.31.0', stdout: without(/^DEVICE=.*\n/gm) },
  { why: 'a directory that is included is told of', since: '9.34', apart: ({ stderr }) => stderr.includes('input in flex scanner failed') },
  {
    why: 'stacked-timeouts is shown',
    since: '9.34',
    stdout: (text) =>
      text
        .replace(/^ *stacked-timeouts;\n/gm, '')
        .replace(/^ *startup \{\n *\}\n/gm, '')
        .replace(/^ *<option name="stacked-timeouts"\/>\n/gm, '')
        .replace(/^ *<section name="startup">\n *<\/section>\n/gm, ''),
  },
  { why: 'plugins have no section of their own in XML', since: '9.34', apart: ({ stdout }) => stdout.includes('<section name="plugin">') },
  {
    why: 'all leaves out volumes without a disk',
    since: '9.34',
    apart: ({ stderr }) => stderr.includes('requires a local disk'),
  },
  {
    why: 'proxies are named after the hosts, and adjust looks at them',
    since: '9.23.0',
    apart: (_, situation) => concernsProxies(situation) && /proxy\s+on/.test(situation.config),
  },
  {
    why: 'a node may run proxies only',
    since: '9.23.0',
    apart: (_, { config, node }) => node.startsWith('pxy') && config.includes(node),
  },
  {
    why: 'resync-after is looked at once, on this node, and not by dump',
    since: '9.34',
    apart: ({ stderr }, { argv }) =>
      stderr.includes('resync-after contains') ||
      (argv.some((word) => word.startsWith('dump')) && stderr.includes("'resync-after' option")),
    stderr: (text) =>
      text
        .replace(/^.*in resource .*:\n\tresource '.*' mentioned in 'resync-after' option is not known.*\n/gm, '')
        .replace(/(^Resource '.*' has no volume [0-9]+\n)\1+/gm, '$1'),
  },
];

const BANNER = /\n {3}found __DRBD_NODE__ in environment\n {3}PRETENDING that I am >>.*<<\n\n/g;

/** Why the two cannot be compared; undefined if they can. */
export function reasonApart(stock: Printed, situation: Situation): string | undefined {
  return ROWS.find((row) => (row.since === undefined || situation.release !== '9.34') && row.apart?.(stock, situation) === true)?.why;
}

/** Takes out what the releases do differently. */
export function settle(printed: Printed, situation: Situation): Printed {
  let stdout = printed.stdout.replaceAll(situation.directory, '@CONFDIR@');
  let stderr = printed.stderr.replaceAll(situation.directory, '@CONFDIR@').replace(BANNER, '');
  if (situation.release !== '9.34') {
    for (const row of ROWS) {
      stdout = row.stdout?.(stdout, situation) ?? stdout;
      stderr = row.stderr?.(stderr, situation) ?? stderr;
    }
  }
  return { rc: printed.rc, stdout, stderr };
}
