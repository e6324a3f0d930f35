/**
 * The options a running resource has, group by group, in the order in which `drbdsetup show` prints them.
 *
 * Numbers are in DRBD's storage unit: plain, KiB for the rates, 512-byte sectors for sizes and fills. These tables are what the
 * engine knows of options (range, default); syntax, suffixes and texts belong to the option catalogue of the configuration.
 * Source: drbd_limits.h, drbd_genl.h.
 */

export interface NumberOption {
  readonly kind: 'number';
  readonly min: number;
  readonly max: number;
  readonly default: number;
  /** A value out of range is brought into range instead of being refused. */
  readonly clamped?: true;
}
export interface YesNoOption {
  readonly kind: 'yes-no';
  readonly default: boolean;
}
export interface WordOption<W extends string = string> {
  readonly kind: 'word';
  readonly words: readonly W[];
  readonly default: W;
}
/** A word, or a number from `min` to `max`. */
export interface NumberOrWordOption<W extends string = string> {
  readonly kind: 'number-or-word';
  readonly words: readonly W[];
  readonly min: number;
  readonly max: number;
  readonly default: W;
}
export interface TextOption {
  readonly kind: 'text';
  readonly maxLength: number;
  readonly default: '';
}
export type OptionRow = NumberOption | YesNoOption | WordOption | NumberOrWordOption | TextOption;
export type OptionTable = Readonly<Record<string, OptionRow>>;

type ValueOf<R extends OptionRow> = R extends NumberOption
  ? number
  : R extends YesNoOption
    ? boolean
    : R extends WordOption<infer W>
      ? W
      : R extends NumberOrWordOption<infer W>
        ? W | number
        : string;

/** Every option of a table with its value. */
export type OptionValues<T extends OptionTable> = { readonly [K in keyof T]: ValueOf<T[K]> };

const number = (min: number, max: number, preset: number): NumberOption => ({ kind: 'number', min, max, default: preset });
const yesNo = (preset: boolean): YesNoOption => ({ kind: 'yes-no', default: preset });
const text = (maxLength: number): TextOption => ({ kind: 'text', maxLength, default: '' });
const word = <const W extends string>(words: readonly W[], preset: NoInfer<W>): WordOption<W> => ({ kind: 'word', words, default: preset });
const numberOrWord = <const W extends string>(
  words: readonly W[],
  min: number,
  max: number,
  preset: NoInfer<W>,
): NumberOrWordOption<W> => ({ kind: 'number-or-word', words, min, max, default: preset });

/** `new-resource`, `resource-options`. */
export const RESOURCE_OPTIONS = {
  'cpu-mask': text(255),
  'on-no-data-accessible': word(['io-error', 'suspend-io'], 'io-error'),
  'auto-promote': yesNo(true),
  'peer-ack-window': number(2048, 204800, 4096),
  'peer-ack-delay': number(1, 10000, 100),
  'twopc-timeout': number(50, 600, 300),
  'twopc-retry-timeout': number(1, 50, 1),
  'auto-promote-timeout': number(0, 600, 20),
  'max-io-depth': number(4, 4294967295, 8000),
  quorum: numberOrWord(['off', 'majority', 'all'], 1, 32, 'off'),
  'on-no-quorum': word(['io-error', 'suspend-io'], 'suspend-io'),
  'quorum-minimum-redundancy': numberOrWord(['off', 'majority', 'all'], 1, 32, 'off'),
  'on-suspended-primary-outdated': word(['disconnect', 'force-secondary'], 'disconnect'),
  'drbd8-api-compatibility': yesNo(false),
} as const satisfies OptionTable;

/** `new-minor`. A `discard-granularity` of {@link DISCARD_GRANULARITY_UNSET} means that nobody configured one. */
export const DEVICE_OPTIONS = {
  'max-bio-size': number(512, 1048576, 1048576),
  diskless: yesNo(false),
  'block-size': number(512, 4096, 512),
  'discard-granularity': number(0, 134217728, 4294967295),
} as const satisfies OptionTable;
export const DISCARD_GRANULARITY_UNSET = 4294967295;

/** `attach`; `disk-options` takes the same without `size`. */
export const DISK_OPTIONS = {
  size: number(0, 2199023255552, 0),
  'on-io-error': word(['pass_on', 'call-local-io-error', 'detach'], 'detach'),
  'disk-barrier': yesNo(false),
  'disk-flushes': yesNo(true),
  'disk-drain': yesNo(true),
  'md-flushes': yesNo(true),
  'resync-after': number(-1, 1048575, -1),
  'al-extents': { ...number(67, 65534, 1237), clamped: true },
  'al-updates': yesNo(true),
  'discard-zeroes-if-aligned': yesNo(true),
  'disable-write-same': yesNo(false),
  'disk-timeout': number(0, 6000, 0),
  'read-balancing': word(
    [
      'prefer-local',
      'prefer-remote',
      'round-robin',
      'least-pending',
      'when-congested-remote',
      '32K-striping',
      '64K-striping',
      '128K-striping',
      '256K-striping',
      '512K-striping',
      '1M-striping',
    ],
    'prefer-local',
  ),
  'rs-discard-granularity': number(0, 1048576, 0),
  bitmap: yesNo(true),
} as const satisfies OptionTable;

/** `new-peer`; `net-options` takes the same without `transport` and `load-balance-paths`. `_name` is the connection's name. */
export const NET_OPTIONS = {
  transport: text(63),
  'load-balance-paths': yesNo(false),
  protocol: word(['A', 'B', 'C'], 'C'),
  timeout: number(1, 600, 60),
  'max-epoch-size': number(1, 20000, 2048),
  'connect-int': number(1, 120, 10),
  'ping-int': number(1, 120, 10),
  'sndbuf-size': number(0, 134217728, 0),
  'rcvbuf-size': number(0, 134217728, 0),
  'ko-count': number(0, 200, 7),
  'allow-two-primaries': yesNo(false),
  'cram-hmac-alg': text(63),
  'shared-secret': text(63),
  'after-sb-0pri': word(
    [
      'disconnect',
      'discard-younger-primary',
      'discard-older-primary',
      'discard-zero-changes',
      'discard-least-changes',
      'discard-local',
      'discard-remote',
    ],
    'disconnect',
  ),
  'after-sb-1pri': word(['disconnect', 'consensus', 'discard-secondary', 'call-pri-lost-after-sb', 'violently-as0p'], 'disconnect'),
  'after-sb-2pri': word(['disconnect', 'call-pri-lost-after-sb', 'violently-as0p'], 'disconnect'),
  'always-asbp': yesNo(false),
  'rr-conflict': word(['disconnect', 'call-pri-lost', 'violently', 'retry-connect', 'auto-discard'], 'disconnect'),
  'ping-timeout': number(1, 300, 5),
  'data-integrity-alg': text(63),
  'tcp-cork': yesNo(true),
  'on-congestion': word(['block', 'pull-ahead', 'disconnect'], 'block'),
  'congestion-fill': number(0, 20971520, 0),
  'congestion-extents': number(67, 65534, 1237),
  'csums-alg': text(63),
  'csums-after-crash-only': yesNo(false),
  'verify-alg': text(63),
  'use-rle': yesNo(true),
  'socket-check-timeout': number(0, 300, 0),
  fencing: word(['dont-care', 'resource-only', 'resource-and-stonith'], 'dont-care'),
  'max-buffers': number(32, 131072, 2048),
  'allow-remote-read': yesNo(true),
  tls: yesNo(false),
  'tls-keyring': text(63),
  'tls-privkey': text(63),
  'tls-certificate': text(63),
  'rdma-ctrl-rcvbuf-size': number(0, 10485760, 0),
  'rdma-ctrl-sndbuf-size': number(0, 10485760, 0),
  _name: text(63),
} as const satisfies OptionTable;

/** `peer-device-options`. */
export const PEER_DEVICE_OPTIONS = {
  'resync-rate': number(1, 8388608, 250),
  'c-plan-ahead': number(0, 300, 20),
  'c-delay-target': number(1, 100, 10),
  'c-fill-target': number(0, 1048576, 100),
  'c-max-rate': number(0, 4194304, 102400),
  'c-min-rate': number(0, 4194304, 250),
  bitmap: yesNo(true),
  'resync-without-replication': yesNo(true),
  'peer-tiebreaker': yesNo(true),
} as const satisfies OptionTable;

export type ResourceOptions = OptionValues<typeof RESOURCE_OPTIONS>;
export type DeviceOptions = OptionValues<typeof DEVICE_OPTIONS>;
export type DiskOptions = OptionValues<typeof DISK_OPTIONS>;
export type NetOptions = OptionValues<typeof NET_OPTIONS>;
export type PeerDeviceOptions = OptionValues<typeof PEER_DEVICE_OPTIONS>;

/** @returns a fresh object with every option of the table at its default */
export function defaultOptions<T extends OptionTable>(table: T): OptionValues<T> {
  return Object.fromEntries(Object.entries(table).map(([name, row]) => [name, row.default])) as OptionValues<T>;
}

/** @returns whether `value` may stand for the option, by type and range */
export function isOptionValue(row: OptionRow, value: unknown): boolean {
  switch (row.kind) {
    case 'number':
      if (row.clamped) return typeof value === 'number' && Number.isInteger(value);
      return isWithin(row, value) || (row.default > row.max && value === row.default);
    case 'yes-no':
      return typeof value === 'boolean';
    case 'word':
      return typeof value === 'string' && row.words.includes(value);
    case 'number-or-word':
      return isWithin(row, value) || (typeof value === 'string' && row.words.includes(value));
    case 'text':
      return typeof value === 'string' && value.length <= row.maxLength;
  }
}

/** @returns the given values, each brought into its range where the option allows that; every one has passed {@link isOptionValue} */
export function clampOptions<T extends OptionTable>(table: T, given: Partial<OptionValues<T>>): Partial<OptionValues<T>> {
  const clamped: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(given)) {
    const row = table[name];
    clamped[name] =
      row?.kind === 'number' && row.clamped && typeof value === 'number' ? Math.min(Math.max(value, row.min), row.max) : value;
  }
  return clamped as Partial<OptionValues<T>>;
}

const isWithin = (row: { min: number; max: number }, value: unknown): boolean =>
  typeof value === 'number' && Number.isInteger(value) && value >= row.min && value <= row.max;
