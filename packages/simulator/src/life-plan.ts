/** What one life is like: drawn from its seed before anything happens, whole families of faults on or off (swarm testing). */
import { Prng } from './prng.js';

/**
 * Deliberate mistakes of the host, to show that the checks would notice such a mistake of the engine. What each of them does is
 * in docs/simulator.md.
 */
export const CANARIES = [
  'flush-lies',
  'skip-epoch-flush',
  'skip-preflush',
  'skip-al-write',
  'answer-before-al',
  'forget-bitmap-page',
  'forget-bitmap-bit',
  'early-answer',
  'early-peer-answer',
  'drop-mirrored-write',
  'drop-mirrored-zeroes',
  'mixed-payload',
  'skip-apply-al',
  'misdirect-write',
  'stale-superblock',
  'swap-uuids',
  'forget-primary-flag',
  'two-resolvers',
] as const;
export type Canary = (typeof CANARIES)[number];

export interface LifePlan {
  readonly seed: number;
  /** Sectors of data. */
  readonly sizeSectors: number;
  readonly format: 'v08' | 'v09';
  readonly alExtents: number;
  /** Both disks begin empty and never synchronised. */
  readonly startsFresh: boolean;
  readonly protocol: 'A' | 'B' | 'C';
  /** The newest protocol version that the first node offers. */
  readonly protocolVersion: number;
  readonly writeCache: boolean;
  readonly useRle: boolean;
  readonly resyncRateKiB: number;
  readonly planAhead: number;
  /** Simulated seconds with faults. */
  readonly seconds: number;
  /** connect-int, seconds. */
  readonly connectInt: number;
  readonly delayMin: number;
  readonly delayMax: number;
  readonly windowBytes: number;
  readonly splits: boolean;
  /** Disk latency, microseconds. */
  readonly diskMin: number;
  readonly diskMax: number;
  readonly tornPercent: number;
  readonly queueDepth: number;
  /** Mean pause of one application thread between requests, microseconds. */
  readonly thinkMicros: number;
  /** Sectors that requests fall on mostly. */
  readonly hotSpots: readonly number[];
  readonly maxSectors: number;
  /** Mean seconds between faults of a family; Infinity: off. */
  readonly powerCutEvery: number;
  readonly killEvery: number;
  readonly partitionEvery: number;
  readonly resetEvery: number;
  readonly commandEvery: number;
  /** Probability of EIO in a million, on one node only: some good copy has to remain. */
  readonly diskErrorsPerMillion: number;
  readonly diskErrorsOn: 0 | 1;
  readonly onIoError: 'pass_on' | 'detach';
  /** The operator may promote any node at any time: split brain happens. */
  readonly careless: boolean;
  /** Both nodes are promoted, with an application on each: every loss of the link is a split brain. */
  readonly twoPrimaries: boolean;
  /** Each node takes the other one for a kernel's DRBD. */
  readonly genuinePeers: boolean;
  readonly mdFlushes: boolean;
  /** csums-alg of the connection, or none. */
  readonly csums: string;
  readonly csumsAfterCrashOnly: boolean;
  /** data-integrity-alg, or none; with it, one payload in so many is damaged on its way, 0: none. */
  readonly integrity: string;
  readonly damagedPerMillion: number;
  /** verify-alg, or none: then a verify is refused. */
  readonly verifyAlg: string;
  /** Off only where there is no write cache; on, with none, a flush is over at once. */
  readonly diskFlushes: boolean;
  /** Mean seconds between times in which the disk of `diskErrorsOn` answers nothing; Infinity: none. And disk-timeout, 0.1 s. */
  readonly hangEvery: number;
  readonly diskTimeout: number;
  /** KiB/s; 0: a resync never makes way. */
  readonly minRateKiB: number;
  /** on-congestion with protocol A, and its threshold in sectors. */
  readonly onCongestion: 'block' | 'pull-ahead' | 'disconnect';
  readonly congestionFill: number;
  /** Mean seconds between resyncs of other volumes that come first (resync-after); Infinity: none. */
  readonly dependEvery: number;
  /** Mean seconds between changes of the devices' size; Infinity: none. */
  readonly resizeEvery: number;
  readonly fencing: 'dont-care' | 'resource-only' | 'resource-and-stonith';
  readonly canary: Canary | undefined;
}

const OFF = Number.POSITIVE_INFINITY;

/** Shares of the full length of a life, each as likely as the others. */
const PACES = [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.3, 0.3, 0.3, 0.3, 1] as const;

function drawIntegrity(prng: Prng): Pick<LifePlan, 'integrity' | 'damagedPerMillion'> {
  const integrity = prng.pick(['', '', '', 'crc32c', 'sha1']);
  return { integrity, damagedPerMillion: integrity !== '' && prng.chance(1, 2) ? 5000 : 0 };
}

function drawFencing(seed: number, protocol: LifePlan['protocol']): LifePlan['fencing'] {
  const fencing = new Prng(seed, 'fencing').pick(['dont-care', 'dont-care', 'resource-only', 'resource-and-stonith'] as const);
  // Refused together.
  return fencing === 'resource-and-stonith' && protocol === 'A' ? 'resource-only' : fencing;
}

/** Two Primaries write mostly to the same few blocks. Of a stream of its own, so that other lives stay as they are. */
function withTwoPrimaries(plan: LifePlan, always: boolean): LifePlan {
  const prng = new Prng(plan.seed, 'two primaries');
  if (!prng.chance(1, 10) && !always) return plan;
  const keepsNetwork = prng.chance(1, 2);
  return {
    ...plan,
    twoPrimaries: true,
    genuinePeers: prng.chance(1, 2),
    protocol: 'C',
    careless: false,
    seconds: Math.min(plan.seconds, 40),
    hotSpots: plan.hotSpots.slice(0, prng.range(1, 6)),
    maxSectors: prng.pick([8, 24, 24, 64, 256]),
    thinkMicros: plan.queueDepth * prng.pick([10_000, 40_000, 200_000]),
    partitionEvery: keepsNetwork ? OFF : plan.partitionEvery,
    resetEvery: keepsNetwork ? OFF : plan.resetEvery,
  };
}

/** Below 100 there is one Primary at most, and a large write goes in parts. Of a stream of its own too. */
function withOldProtocol(plan: LifePlan): LifePlan {
  const prng = new Prng(plan.seed, 'protocol version');
  if (plan.twoPrimaries || !prng.chance(1, 4)) return plan;
  const maxSectors = prng.chance(1, 3) ? Math.min(700, plan.sizeSectors) : plan.maxSectors;
  return { ...plan, protocolVersion: prng.pick([95, 95, 96, 97, 100]), maxSectors };
}

/** @param twoPrimaries - the life has two Primaries whatever the seed says */
export function drawPlan(seed: number, canary?: Canary, twoPrimaries = false): LifePlan {
  const plan = drawOnePrimary(seed, canary);
  return withOldProtocol(withTwoPrimaries(plan, twoPrimaries));
}

function drawOnePrimary(seed: number, canary: Canary | undefined): LifePlan {
  const prng = new Prng(seed, 'plan');
  // Most lives are short: they find the most in a second of computing, and their traces can be read. Some go on for long.
  const pace = prng.pick(PACES);
  const on = (mean: number): number => (prng.chance(1, 2) ? pace * mean * (0.5 + prng.below(100) / 100) : OFF);
  const shape = prng.below(120);
  // Mostly small devices, where everything meets; some with several extents; few where the activity log is too small.
  const isLarge = shape === 0;
  const isMedium = shape > 0 && shape <= 12;
  const extents = isLarge ? 80 : isMedium ? prng.range(3, 8) : 1;
  const sizeSectors = isLarge || isMedium ? extents * 8192 - prng.below(64) : prng.range(300, 4096);
  const spots = isLarge ? 100 : prng.range(3, 24);
  const hotSpots = Array.from({ length: spots }, () => prng.below(sizeSectors));
  const writeCache = prng.chance(4, 5);
  const protocol = prng.chance(7, 10) ? 'C' : prng.pick(['A', 'B'] as const);
  return {
    seed,
    sizeSectors,
    format: prng.chance(1, 4) ? 'v08' : 'v09',
    alExtents: 67,
    startsFresh: !isLarge && !isMedium && prng.chance(1, 5),
    protocol,
    protocolVersion: 101,
    writeCache,
    useRle: prng.chance(1, 2),
    resyncRateKiB: prng.pick([1000, 20_000, 200_000]),
    planAhead: prng.pick([0, 5, 20]),
    seconds: isLarge ? 40 : Math.ceil(pace * prng.range(20, 90)),
    connectInt: pace < 1 ? 1 : 3,
    delayMin: 50,
    delayMax: prng.pick([100, 1000, 20_000, 100_000]),
    windowBytes: prng.pick([20_000, 200_000, 2_000_000]),
    splits: prng.chance(1, 2),
    diskMin: 20,
    diskMax: prng.pick([200, 2000, 20_000]),
    tornPercent: prng.chance(1, 2) ? 80 : 0,
    queueDepth: prng.pick([1, 2, 4, 16]),
    thinkMicros: isLarge ? 60_000 : Math.ceil(Math.sqrt(pace) * prng.pick([100_000, 400_000, 1_500_000])),
    hotSpots,
    maxSectors: prng.pick([8, 8, 64, 256]),
    powerCutEvery: on(20),
    killEvery: on(20),
    partitionEvery: on(15),
    resetEvery: on(8),
    commandEvery: on(8),
    diskErrorsPerMillion: prng.chance(1, 8) ? 2000 : 0,
    diskErrorsOn: prng.chance(1, 2) ? 0 : 1,
    onIoError: prng.chance(1, 2) ? 'detach' : 'pass_on',
    careless: prng.chance(1, 6),
    twoPrimaries: false,
    genuinePeers: false,
    mdFlushes: true,
    csums: prng.pick(['', 'crc32c', 'sha1']),
    csumsAfterCrashOnly: prng.chance(1, 4),
    verifyAlg: prng.pick(['', 'crc32c', 'md5', 'sha256']),
    ...drawIntegrity(prng),
    diskFlushes: writeCache || prng.chance(1, 2),
    ...drawHangs(seed),
    minRateKiB: new Prng(seed, 'min-rate').pick([0, 0, 250, 4000, 100_000]),
    ...drawCongestion(seed),
    dependEvery: drawDependencies(seed),
    resizeEvery: drawResizes(seed),
    fencing: drawFencing(seed, protocol),
    canary,
  };
}

/** From a stream of its own: lives without it are what they were before there was any. */
function drawResizes(seed: number): number {
  const prng = new Prng(seed, 'resizes');
  return prng.chance(1, 5) ? 3 + prng.below(12) : OFF;
}

function drawDependencies(seed: number): number {
  const prng = new Prng(seed, 'dependencies');
  return prng.chance(1, 5) ? 2 + prng.below(10) : OFF;
}

function drawCongestion(seed: number): Pick<LifePlan, 'onCongestion' | 'congestionFill'> {
  const prng = new Prng(seed, 'congestion');
  return {
    onCongestion: prng.pick(['block', 'pull-ahead', 'pull-ahead', 'pull-ahead', 'disconnect']),
    congestionFill: prng.pick([1, 8, 16, 100, 500]),
  };
}

function drawHangs(seed: number): Pick<LifePlan, 'hangEvery' | 'diskTimeout'> {
  const prng = new Prng(seed, 'hangs');
  return { hangEvery: prng.chance(1, 8) ? 5 + prng.below(20) : OFF, diskTimeout: prng.pick([0, 5, 20]) };
}
