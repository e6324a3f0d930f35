// The command line: options, DEVICE, FORMAT with its arguments, COMMAND. Order of checks and texts as drbdmeta has them.

import { statSync } from 'node:fs';
import type { MetaDataFormat, MetaDataKind } from '@udrbd/metadata';
import type { CommandIo } from './command-io.js';
import { COMMANDS, type Command } from './commands/index.js';
import type { Dialect } from './dialect.js';
import { Exit } from './exit.js';
import { getoptLong, type OptionSpec } from './getopt.js';
import { numberOrExit, u32 } from './numbers.js';
import { usage } from './usage.js';

/** In the order of the stock tool, which shows when an abbreviation is ambiguous. */
const OPTIONS: readonly (OptionSpec & { readonly since934?: true })[] = [
  { long: 'ignore-sanity-checks', takesValue: false },
  { long: 'dry-run', takesValue: false },
  { long: 'tentative', takesValue: false, since934: true },
  { long: 'force', short: 'f', takesValue: false },
  { long: 'quiet', short: 'q', takesValue: false, since934: true },
  { long: 'verbose', short: 'v', takesValue: false },
  { long: 'peer-max-bio-size', short: 'p', takesValue: true },
  { long: 'node-id', short: 'i', takesValue: true },
  { long: 'al-stripes', short: 's', takesValue: true },
  { long: 'al-stripe-size-kB', short: 'z', takesValue: true },
  { long: 'initialize-bitmap', short: 'b', takesValue: true },
  { long: 'effective-size', short: 'Z', takesValue: true, since934: true },
  { long: 'diskful-peers', short: 'D', takesValue: true, since934: true },
  { long: 'bitmap-block-size', short: 'B', takesValue: true, since934: true },
  { long: 'output-format', short: 'o', takesValue: true, since934: true },
  { long: 'initial-current-uuid', takesValue: true, since934: true },
  { long: 'consistent', takesValue: false, since934: true },
  { long: 'uptodate', takesValue: false, since934: true },
  { long: 'peers-outdated', takesValue: false, since934: true },
  { long: 'rotate-uuids', takesValue: false, since934: true },
  { long: 'var-lib-drbd', takesValue: true, since934: true },
];
/** Options that only `create-md` on v09 knows. */
const CREATE_OPTIONS = [
  'effective-size',
  'diskful-peers',
  'initial-current-uuid',
  'consistent',
  'uptodate',
  'peers-outdated',
  'rotate-uuids',
];

export interface Options {
  force: boolean;
  quiet: boolean;
  /** Questions that `--force --quiet` answered without a word. */
  suppressed: number;
  verbose: number;
  dryRun: boolean;
  ignoreSanityChecks: boolean;
  nodeId: number | undefined;
  peerMaxBioSize: number | undefined;
  /** Either of the striping options was given. */
  alStripingGiven: boolean;
  alStripes: number;
  alStripeSize4k: number;
  initializeBitmap: string;
  bmBytesPerBit: number | undefined;
  /** undefined: not given. */
  outputFormat: string | undefined;
  varLibDrbd: string;
  /** Names and values of the options that preset a new v09 super block. */
  preset: ReadonlyMap<string, string>;
}

export interface Invocation {
  /** Arguments with the options in front, for the header of dumps. */
  readonly permuted: readonly string[];
  /** DEVICE as given. */
  readonly deviceName: string;
  /** Minor number; undefined for `-`; 4294967295 when the name tells none. */
  readonly minor: number | undefined;
  readonly format: MetaDataFormat;
  readonly metaDevice: string;
  readonly kind: MetaDataKind;
  /** Index on the command line was `internal` or `flex-internal`, -1 .. -3, or the area number. */
  readonly index: number;
  readonly command: Command;
  readonly args: readonly string[];
  readonly options: Options;
}

export const NO_MINOR = 0xffff_ffff;

/** Everything up to and including the command's name. Throws `Exit` after it printed what is wrong. */
export function parseCommandLine(argv: readonly string[], io: CommandIo, dialect: Dialect): Invocation {
  const stop = (status: number, text = ''): never => {
    if (text !== '') io.stderr(`${text}\n`);
    throw new Exit(status);
  };
  const usageExit = (): never => {
    io.stdout(usage(dialect));
    throw new Exit(20);
  };
  if (argv.length < 3) return usageExit();
  const { events, operands, permuted } = getoptLong(
    'drbdmeta',
    argv,
    OPTIONS.filter((option) => dialect.knows934 || !option.since934),
    io.env.POSIXLY_CORRECT !== undefined,
  );
  const options = defaultOptions(io.env.UDRBD_STATE_DIR ?? '/var/lib/drbd');
  const preset = new Map<string, string>();
  options.preset = preset;
  const number = (text: string, unit: '' | 's' | 'k' = ''): bigint => numberOrExit(text, unit, io, dialect);
  for (const event of events) {
    if (event.type === 'error') {
      io.stderr(event.message);
      return usageExit();
    }
    const { value } = event;
    switch (event.option.long) {
      case 'force':
        options.force = true;
        break;
      case 'quiet':
        options.quiet = true;
        break;
      case 'verbose':
        options.verbose++;
        break;
      case 'ignore-sanity-checks':
        options.ignoreSanityChecks = true;
        break;
      case 'dry-run':
      case 'tentative':
        options.dryRun = true;
        break;
      case 'peer-max-bio-size': {
        const bytes = u32(number(value));
        if (bytes > 1024 * 1024) stop(10, 'peer-max-bio-size out of range (0...1M)');
        // 0 is as good as not given.
        options.peerMaxBioSize = bytes === 0 ? undefined : bytes;
        break;
      }
      case 'node-id': {
        const id = u32(number(value));
        if (id > 31) stop(10, 'node-id out of range (0...31)');
        options.nodeId = id;
        break;
      }
      case 'al-stripes':
        options.alStripingGiven = true;
        options.alStripes = u32(number(value));
        break;
      case 'al-stripe-size-kB':
        options.alStripingGiven = true;
        options.alStripeSize4k = u32(number(value, 'k') / 4n);
        break;
      case 'initialize-bitmap':
        if (!dialect.bitmapModes.includes(value)) {
          const modeWord = dialect.printsMembers ? 'initialize-bitmap mode' : 'initialize-bitmap-mode';
          stop(10, `invalid ${modeWord} "${value}", should be one of ${dialect.bitmapModes.join('|')}`);
        }
        options.initializeBitmap = value;
        break;
      case 'bitmap-block-size': {
        const bytes = number(value);
        const isPowerOfTwo = (bytes & (bytes - 1n)) === 0n;
        if (bytes !== 0n && (bytes < 4096n || bytes > 1n << 20n || !isPowerOfTwo)) {
          stop(10, `bitmap-block-size must be a power of 2 within [4k .. 1M], not '${value}'`);
        }
        options.bmBytesPerBit = bytes === 0n ? 4096 : Number(bytes);
        break;
      }
      case 'output-format':
        options.outputFormat = value;
        break;
      case 'var-lib-drbd':
        options.varLibDrbd = value;
        break;
      default:
        preset.set(event.option.long, event.option.long === 'effective-size' ? `${number(value, 's')}` : value);
    }
  }

  const words = [...operands];
  const deviceName = words.shift() ?? stop(20, 'Format identifier missing');
  const minor = minorOf(deviceName);
  const formatName = words.shift() ?? stop(20, 'Format identifier missing');
  if (formatName === 'v06') {
    const text = words.shift() ?? stop(20, 'Too few arguments for format');
    if (!/^\d+$/.test(text) || Number(text) > 255) stop(20, `'${text}' is not a valid minor number.`);
    stop(20, 'Format v06 (a file of generation counters, DRBD 0.6) is not supported.');
  }
  if (formatName !== 'v07' && formatName !== 'v08' && formatName !== 'v09') stop(20, `Unknown format '${formatName}'.`);
  const format = formatName as MetaDataFormat;
  if (words.length < 2) stop(20, 'Too few arguments for format');
  const metaDevice = words.shift()!;
  const indexWord = words.shift()!;
  const index = indexOf(indexWord, format) ?? stop(20, `'${indexWord}' is not a valid index number.`);
  const kind: MetaDataKind = index >= 0 ? 'indexed' : index === -2 ? 'flex-external' : index === -1 ? 'fixed-internal' : 'internal';
  const name = words.shift() ?? stop(20, 'command missing');
  const command = COMMANDS.find((c) => c.name === name && (dialect.knows934 || !c.since934)) ?? stop(20, `Unknown command '${name}'.`);
  return { permuted, deviceName, minor, format, metaDevice, kind, index, command, args: words, options };
}

/** Do the options go with the command? Runs after the device was locked, as in the stock tool. */
export function checkOptions(invocation: Invocation, io: CommandIo): void {
  const { options, command, format } = invocation;
  const stop = (text: string): never => {
    io.stderr(`${text}\n`);
    throw new Exit(10);
  };
  if (options.peerMaxBioSize !== undefined && command.name !== 'create-md') {
    stop('The --peer-max-bio-size option is only allowed with create-md');
  }
  if (options.alStripingGiven) {
    if (command.name !== 'create-md' && command.name !== 'restore-md') {
      stop('The --al-stripe* options are only allowed with create-md and restore-md');
    }
    const blocks = options.alStripes * options.alStripeSize4k;
    if (blocks > 8192) stop('invalid (too large) al-stripe* settings');
    if (blocks < 8) stop('invalid (too small) al-stripe* settings');
  }
  if (options.outputFormat !== undefined && command.name !== 'dump-superblock') {
    stop('The -o|--output-format option is only allowed with dump-superblock');
  }
  if (options.bmBytesPerBit !== undefined) {
    if (command.name !== 'create-md') stop('The --bitmap-block-size option is only allowed with create-md');
    if (format !== 'v09') stop(`bitmap-block-size not supported with '${format}'`);
    if (invocation.kind === 'indexed' && options.bmBytesPerBit !== 4096) stop("bitmap-block-size not supported with 'indexed' meta-data");
  }
  for (const name of CREATE_OPTIONS) {
    if (!options.preset.has(name)) continue;
    if (command.name !== 'create-md') stop(`The --${name} option is only allowed with create-md`);
    if (format !== 'v09') stop(`--${name} is not supported with '${format}'`);
  }
  if (options.nodeId !== undefined && !command.wantsNodeId) stop(`The ${command.name} command does not accept the --node-id option`);
  if (command.wantsNodeId && format !== 'v09') {
    if (options.nodeId !== undefined && options.nodeId !== 0) io.stderr('Not v09, implicitly set --node-id = 0\n');
    options.nodeId ??= 0;
  }
  if (command.wantsNodeId && options.nodeId === undefined) stop(`The ${command.name} command requires the --node-id option`);
}

function defaultOptions(varLibDrbd: string): Options {
  return {
    force: false,
    quiet: false,
    suppressed: 0,
    verbose: 0,
    dryRun: false,
    ignoreSanityChecks: false,
    nodeId: undefined,
    peerMaxBioSize: undefined,
    alStripingGiven: false,
    alStripes: 1,
    alStripeSize4k: 8,
    initializeBitmap: 'automatic',
    bmBytesPerBit: undefined,
    outputFormat: undefined,
    varLibDrbd,
    preset: new Map(),
  };
}

function indexOf(word: string, format: MetaDataFormat): number | undefined {
  switch (word) {
    case 'internal':
      return format === 'v07' ? -1 : -3;
    case 'flex-external':
      return -2;
    case 'flex-internal':
      return -3;
  }
  // As strtol reads it: blanks and a sign in front, hexadecimal, octal; nothing at all is 0.
  const match = /^\s*\+?(?:(0[xX][0-9a-fA-F]+)|(0[0-7]*)|([1-9]\d*))$/.exec(word);
  if (word !== '' && !match) return undefined;
  const [, hexadecimal, octal, decimal] = match ?? [];
  const area = Number(hexadecimal ?? decimal ?? `0o0${octal ?? ''}`);
  return area <= 255 ? area : undefined;
}

function minorOf(name: string): number | undefined {
  if (name === '-') return undefined;
  if (/^\d+$/.test(name)) return Number(name) % 0x1_0000_0000;
  const drbd = /^\/dev\/drbd(\d+)$/.exec(name);
  if (drbd) return Number(drbd[1]) % 0x1_0000_0000;
  try {
    const stat = statSync(name);
    if (stat.isBlockDevice() && (Math.floor(stat.rdev / 256) & 0xfff) === 147) {
      return (stat.rdev % 256) + 256 * Math.floor(stat.rdev / 0x10_0000);
    }
  } catch {
    // Not there or not readable: a name without a minor, as any other string.
  }
  return NO_MINOR;
}
