/**
 * What a power cut leaves, looked at exhaustively: a scenario runs, and after each event every image of a node's disk that a power cut at
 * that instant could leave is made, judged, and used again. The random lives cut the power here and there; this is all of it, for few events.
 */
import { checkAttach, checkSuperblock, MDF, type Placement } from '@udrbd/metadata';
import type { ResourceSnapshot } from '@udrbd/replication';
import { CRASH_SCENARIOS, type CrashScenario, Stage } from './crash-scenarios.js';
import { becomeWell } from './life.js';
import { drawPlan, type LifePlan } from './life-plan.js';
import { readMetaData } from './meta-tools.js';
import type { Side } from './network.js';
import type { SimNode } from './node.js';
import { Operator } from './operator.js';
import { PageDigests } from './page-digests.js';
import type { KeptWrite, SimDisk } from './sim-disk.js';
import { type CoreFactory, World } from './world.js';

export interface CrashCounts {
  /** Crash images made and judged. */
  images: number;
  /** Of them those with the last write torn. */
  torn: number;
  /** Different bytes. */
  distinct: number;
  /** Different meta-data: each of them attached. */
  attached: number;
  /** Clusters restarted from an image until they were well. */
  restarted: number;
  /** Of them those that, after a super block was torn, want an administrator's word: nothing is lost, but nothing is decided. */
  undecided: number;
}

export interface CrashFinding {
  readonly scenario: string;
  /** Number of the image in its scenario. */
  readonly image: number;
  readonly failure: string;
}

export interface CrashReport {
  readonly counts: CrashCounts;
  readonly finding: CrashFinding | undefined;
}

/** An image of a disk whose meta-data had not been seen before in its scenario. */
export interface MetaDataImage {
  readonly scenario: string;
  readonly format: 'v08' | 'v09';
  readonly sizeBytes: number;
  /** Where the device ended that the meta-data are for: they have not moved yet if it is longer now. */
  readonly endBytes: number;
  /** 4 KiB pages of the meta-data area by number; those that are absent are zero. */
  readonly pages: ReadonlyMap<number, Uint8Array>;
}

export interface CrashOptions {
  /** All subsets of so many of the writes that are not durable. */
  readonly window: number;
  /** Super blocks are torn too: what no disk promises to do less than whole. */
  readonly tearsSuperblock?: boolean;
  /** Of the images with meta-data that are new, one in so many is a cluster that is restarted until it is well. */
  readonly restartOneIn: number;
  readonly plan?: Partial<LifePlan>;
  /** Takes what happens after the restart from one image, by its number. */
  readonly trace?: { readonly image: number; readonly sink: (line: string) => void };
  readonly onMetaData?: (image: MetaDataImage) => void;
}

const SECOND = 1_000_000;
const PAGE = 4096;
const SEED = 0xc4a5;

export function exploreCrashes(scenario: CrashScenario, createCore: CoreFactory, options: CrashOptions): CrashReport {
  const explorer = new Explorer(scenario, createCore, options);
  explorer.run();
  return { counts: explorer.counts, finding: explorer.finding };
}

export { CRASH_SCENARIOS, type CrashScenario };

class Explorer {
  readonly counts: CrashCounts = { images: 0, torn: 0, distinct: 0, attached: 0, restarted: 0, undecided: 0 };
  finding: CrashFinding | undefined;
  readonly #scenario: CrashScenario;
  readonly #createCore: CoreFactory;
  readonly #options: CrashOptions;
  readonly #plan: LifePlan;
  readonly #world: World;
  /** Digests of images together with what had been promised when they could be left. */
  readonly #judged = new Set<string>();
  readonly #distinct = new Set<string>();
  readonly #metaData = new Set<string>();
  #digests = new PageDigests();

  constructor(scenario: CrashScenario, createCore: CoreFactory, options: CrashOptions) {
    this.#scenario = scenario;
    this.#createCore = createCore;
    this.#options = options;
    this.#plan = { ...drawPlan(SEED), ...CALM, ...scenario.plan, ...options.plan };
    this.#world = new World(this.#plan, createCore);
  }

  run(): void {
    const world = this.#world;
    const stage = new Stage(world);
    const script = this.#scenario.run(stage);
    const limit = 600 * SECOND;
    try {
      for (let wait = script.next(); wait.done !== true; wait = script.next()) {
        this.#examine(stage);
        while (!wait.value()) {
          if (!world.queue.step(limit)) throw new Error('the scenario waits for something that does not happen');
          if (world.failure !== undefined) throw new Error(world.failure);
          if (!this.#examine(stage)) return;
        }
      }
      // Nothing may be left half done.
      const end = world.queue.now + SECOND;
      while (world.queue.step(end)) if (!this.#examine(stage)) return;
      if (world.failure !== undefined) throw new Error(world.failure);
    } catch (error) {
      this.#found(error instanceof Error ? error.message : String(error));
    }
  }

  #found(failure: string): void {
    this.finding ??= { scenario: this.#scenario.title, image: this.counts.images, failure };
  }

  /** @returns false when something was found */
  #examine(stage: Stage): boolean {
    if (!stage.isRecording) return true;
    this.#digests = new PageDigests();
    for (const side of this.#scenario.sides) {
      const { disk, isUp } = this.#world.nodes[side];
      if (!isUp || this.finding !== undefined) continue;
      for (const kept of disk.cuts(this.#options.window, this.#options.tearsSuperblock)) {
        this.counts.images++;
        if (isTorn(kept.at(-1))) this.counts.torn++;
        const failure = this.#judge(side, disk.after(kept));
        if (failure === undefined) continue;
        this.#found(`${describe(side, kept)}: ${failure}`);
        return false;
      }
    }
    return this.finding === undefined;
  }

  #judge(side: Side, image: SimDisk): string | undefined {
    const other = side === 0 ? 1 : 0;
    const peer = this.#world.nodes[other];
    const own = this.#digests.of(image);
    this.#distinct.add(`${side} ${own}`);
    this.counts.distinct = this.#distinct.size;
    const key = [side, own, this.#digests.of(peer.disk), this.#world.history.mark, this.#state(side)].join(' ');
    if (this.#judged.has(key)) return undefined;
    this.#judged.add(key);

    const { format } = this.#plan;
    const { md, place } = readMetaData(image, format);
    const validity = checkSuperblock(md, 'internal', place.superblockOffsetBytes + PAGE);
    if (!validity.isValid) return `M1: ${validity.messages.join()}`;
    if (md.current_uuid === 0n) return 'M1: no generation';

    const metaData = this.#digests.of(image, place.bmOffsetBytes);
    const isNew = !this.#metaData.has(`${side} ${metaData}`);
    const restarts = isNew && this.#metaData.size % this.#options.restartOneIn === 0;
    // What looks at an image writes to it only when it is used.
    const after = this.#remains(side, isNew ? image.restarted() : image, isNew ? peer.disk.restarted() : peer.disk);
    after.checks.afterPowerCut(after.nodes[side], this.#world.nodes[side].snapshot());
    after.checks.crashClosure();
    if (after.failure !== undefined || !isNew) return after.failure;

    this.#metaData.add(`${side} ${metaData}`);
    this.#options.onMetaData?.(pagesOf(image, this.#scenario.title, format, place));
    return restarts ? this.#restart(after) : this.#attach(after, after.nodes[side]);
  }

  /** The cluster after both nodes went down: one by a power cut, while of the other one nothing that was completed is lost. */
  #remains(side: Side, image: SimDisk, peer: SimDisk): World {
    const disks = side === 0 ? ([image, peer] as const) : ([peer, image] as const);
    // Other generations and latencies than before.
    const { trace } = this.#options;
    const sink = trace?.image === this.counts.images ? trace.sink : undefined;
    return new World({ ...this.#plan, seed: SEED + this.counts.images }, this.#createCore, sink, { of: this.#world, disks });
  }

  /** One node, alone: its disk is taken, and is in the state that its flags say. */
  #attach(world: World, node: SimNode): string | undefined {
    this.counts.attached++;
    const { queue } = world;
    node.up();
    const end = queue.now + 60 * SECOND;
    while (world.failure === undefined && !isAttached(node.snapshot()) && queue.step(end));
    if (world.failure !== undefined) return world.failure;
    const volume = node.snapshot()?.volumes[0];
    const { md } = readMetaData(node.disk, this.#plan.format);
    const verdict = checkAttach(md, 'internal', this.#plan.format === 'v09' ? node.side : -1);
    if (!verdict.ok && verdict.error.code !== 'ERR_MD_UNCLEAN') return `M1: ${verdict.error.code}: ${verdict.error.info}`;
    const expected = (md.flags & MDF.CONSISTENT) === 0 ? 'Inconsistent' : (md.flags & MDF.WAS_UP_TO_DATE) === 0 ? 'Outdated' : 'good';
    const found = volume?.diskState === 'Consistent' || volume?.diskState === 'UpToDate' ? 'good' : volume?.diskState;
    return found === expected ? undefined : `M1: attached as ${volume?.diskState}, flags ${md.flags.toString(16)}`;
  }

  /** Both nodes, until they are equal and have what they promised. */
  #restart(world: World): string | undefined {
    this.counts.attached++;
    this.counts.restarted++;
    new Operator(world).start();
    becomeWell(world);
    if (this.#options.tearsSuperblock === true && world.failure?.startsWith('L1')) {
      this.counts.undecided++;
      return undefined;
    }
    return world.failure;
  }

  /** What decides how much is promised, besides the history. */
  #state(side: Side): string {
    const snapshot = this.#world.nodes[side].snapshot();
    return `${snapshot?.role} ${snapshot?.volumes[0]?.diskState}`;
  }
}

/** Nothing happens by chance; disks take long enough that several writes are under way together. */
const CALM: Partial<LifePlan> = {
  sizeSectors: 2048,
  format: 'v09',
  startsFresh: false,
  protocol: 'C',
  writeCache: true,
  resyncRateKiB: 200_000,
  planAhead: 0,
  connectInt: 1,
  delayMax: 100,
  windowBytes: 2_000_000,
  splits: false,
  diskMin: 100,
  diskMax: 300,
  careless: false,
  twoPrimaries: false,
  genuinePeers: false,
  diskErrorsPerMillion: 0,
  damagedPerMillion: 0,
  integrity: '',
  csums: '',
  diskFlushes: true,
  mdFlushes: true,
  hangEvery: Number.POSITIVE_INFINITY,
  diskTimeout: 0,
  fencing: 'dont-care',
  useRle: true,
};

const UNDECIDED: ReadonlySet<string | undefined> = new Set([undefined, 'Diskless', 'Attaching', 'Negotiating']);
const isAttached = (snapshot: ResourceSnapshot | undefined): boolean => !UNDECIDED.has(snapshot?.volumes[0]?.diskState);
const isTorn = (last: KeptWrite | undefined): boolean => last !== undefined && last.sectors * 512 < last.write.length;

function describe(side: Side, kept: readonly KeptWrite[]): string {
  const writes = kept.map(
    ({ write, sectors }) => `${write.offset}+${write.length}${sectors * 512 < write.length ? ` up to ${sectors * 512}` : ''}`,
  );
  return `node ${side === 0 ? 'a' : 'b'} keeps [${writes.join(', ')}]`;
}

function pagesOf(disk: SimDisk, scenario: string, format: 'v08' | 'v09', place: Placement): MetaDataImage {
  const from = place.bmOffsetBytes;
  const pages = new Map<number, Uint8Array>();
  for (const number of disk.pageNumbers()) if (number * PAGE >= from) pages.set(number, disk.page(number)!.slice());
  return { scenario, format, sizeBytes: disk.sizeBytes, endBytes: place.superblockOffsetBytes + PAGE, pages };
}
