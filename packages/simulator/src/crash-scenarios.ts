/** What happens to a pair of nodes while every crash image of their disks is looked at: one short script for each thing that writes meta-data. */
import { type ControlRequest, OP, type Op, REQ_FUA, REQ_PREFLUSH } from '@udrbd/replication';
import { isInSync } from './checks.js';
import type { LifePlan } from './life-plan.js';
import type { Side } from './network.js';
import type { World } from './world.js';

/** Goes on when it returns true. */
export type Wait = () => boolean;
type Script = Generator<Wait, void, void>;

export interface CrashScenario {
  readonly title: string;
  /** Whose disks are looked at. */
  readonly sides: readonly Side[];
  readonly plan?: Partial<LifePlan>;
  run(stage: Stage): Script;
}

const VOLUME = 0;
const CONNECTION = 0;
const EXTENT_SECTORS = 8192;

/** The verbs of a script. */
export class Stage {
  /** Crash images are made from now on. */
  isRecording = false;
  readonly world: World;

  constructor(world: World) {
    this.world = world;
  }

  *until(wait: Wait): Script {
    yield wait;
  }

  *command(side: Side, request: ControlRequest): Script {
    let answer: string | undefined | null = null;
    this.world.nodes[side].control(request, (error) => {
      answer = error;
    });
    yield () => answer !== null;
    if (answer !== undefined) throw new Error(`${request.command}: ${answer}`);
  }

  *up(): Script {
    for (const node of this.world.nodes) node.up();
    yield* this.until(() => this.world.nodes.every((node) => isInSync(node.snapshot())));
  }

  *promote(side: Side): Script {
    yield* this.command(side, { command: 'primary', force: false });
  }

  *demote(side: Side): Script {
    yield* this.idle(side);
    yield* this.command(side, { command: 'secondary', openVolumes: [], force: false });
  }

  /** Requests begun, not waited for. */
  *begin(side: Side, op: Op, sector: number, sectors: number, flags = 0): Script {
    yield () => this.world.workloads[side].issue(op, flags, sector, sectors);
  }

  *write(side: Side, sector: number, sectors = 8, flags = 0): Script {
    yield* this.begin(side, OP.Write, sector, sectors, flags);
  }

  *flush(side: Side): Script {
    yield* this.begin(side, OP.Flush, 0, 0);
    yield* this.idle(side);
  }

  /** The first node is Primary, and its first blocks are written and flushed. */
  *written(): Script {
    yield* this.up();
    yield* this.promote(0);
    yield* this.write(0, 0);
    yield* this.flush(0);
  }

  *idle(side: Side): Script {
    const workload = this.world.workloads[side];
    yield () => workload.running === 0;
  }

  *disconnect(side: Side): Script {
    yield* this.command(side, { command: 'disconnect', connection: CONNECTION, force: false });
  }

  *connect(side: Side): Script {
    const peer = side === 0 ? 1 : 0;
    for (const s of [side, peer] as const) {
      if (this.world.nodes[s].snapshot()?.connections[0]?.state === 'StandAlone')
        yield* this.command(s, { command: 'connect', connection: CONNECTION, tentative: false, discardMyData: false });
    }
  }

  /** Connected to a peer whose disk state is known. */
  *connected(): Script {
    yield () => this.world.nodes.every((node) => node.snapshot()?.connections[0]?.peerDevices[0]?.replicationState === 'Established');
  }

  *inSync(): Script {
    yield () => this.world.nodes.every((node) => isInSync(node.snapshot()));
  }

  grow(side: Side, bytes: number): void {
    this.world.isResized = true;
    this.world.nodes[side].disk.grow(bytes);
  }
}

/** Writes here and there, two at a time, some forced, then a flush. */
function* someWrites(stage: Stage, side: Side, from = 0): Script {
  yield* stage.write(side, from);
  yield* stage.write(side, from + 64, 16);
  yield* stage.write(side, from + 3, 2, REQ_FUA);
  yield* stage.flush(side);
  yield* stage.write(side, from, 8);
  yield* stage.write(side, from + 200, 8, REQ_FUA | REQ_PREFLUSH);
  yield* stage.begin(side, OP.Discard, from + 64, 8);
  yield* stage.idle(side);
}

/** Up, a Primary, apart, with writes that the peer does not have. */
function* primaryAlone(stage: Stage): Script {
  yield* stage.written();
  yield* stage.disconnect(0);
}

export const CRASH_SCENARIOS: readonly CrashScenario[] = [
  {
    title: 'attach and detach',
    sides: [0],
    *run(stage) {
      stage.isRecording = true;
      yield* stage.up();
      yield* stage.command(0, { command: 'detach', volume: VOLUME, force: false });
    },
  },
  {
    title: 'attach and detach, v08',
    sides: [0],
    plan: { format: 'v08' },
    *run(stage) {
      stage.isRecording = true;
      yield* stage.up();
      yield* stage.command(0, { command: 'detach', volume: VOLUME, force: false });
    },
  },
  {
    title: 'first synchronisation',
    sides: [0, 1],
    plan: { startsFresh: true, sizeSectors: 400 },
    *run(stage) {
      for (const node of stage.world.nodes) node.up();
      yield* stage.connected();
      stage.isRecording = true;
      stage.world.isForced = true;
      yield* stage.command(0, { command: 'primary', force: true });
      yield* stage.write(0, 16);
      yield* stage.inSync();
    },
  },
  {
    title: 'role changes',
    sides: [0, 1],
    *run(stage) {
      yield* stage.up();
      stage.isRecording = true;
      yield* stage.promote(0);
      yield* someWrites(stage, 0);
      yield* stage.demote(0);
      yield* stage.promote(1);
      yield* stage.write(1, 0);
      yield* stage.flush(1);
      yield* stage.demote(1);
    },
  },
  {
    title: 'role changes, v08',
    sides: [0, 1],
    plan: { format: 'v08' },
    *run(stage) {
      yield* stage.up();
      stage.isRecording = true;
      yield* stage.promote(0);
      yield* someWrites(stage, 0);
      yield* stage.demote(0);
      yield* stage.promote(1);
      yield* stage.write(1, 0);
      yield* stage.demote(1);
    },
  },
  {
    title: 'activity log, extents evicted while connected',
    sides: [0, 1],
    plan: { sizeSectors: 6 * EXTENT_SECTORS, alExtents: 3 },
    *run(stage) {
      yield* stage.up();
      yield* stage.promote(0);
      stage.isRecording = true;
      for (const extent of [0, 1, 2, 3, 4, 0, 5]) yield* stage.write(0, extent * EXTENT_SECTORS + 8 * extent);
      yield* stage.flush(0);
      // One request that needs two extents.
      yield* stage.write(0, 3 * EXTENT_SECTORS - 8, 16);
      yield* stage.idle(0);
    },
  },
  {
    title: 'activity log, extents evicted while alone',
    sides: [0],
    plan: { sizeSectors: 6 * EXTENT_SECTORS, alExtents: 3 },
    *run(stage) {
      yield* primaryAlone(stage);
      stage.isRecording = true;
      for (const extent of [0, 1, 2, 3, 4, 0, 5]) yield* stage.write(0, extent * EXTENT_SECTORS + 8 * extent);
      yield* stage.flush(0);
      yield* stage.write(0, 3 * EXTENT_SECTORS - 8, 16);
      yield* stage.idle(0);
    },
  },
  {
    title: 'identifiers: a Primary alone begins a generation',
    sides: [0, 1],
    *run(stage) {
      yield* stage.up();
      yield* stage.promote(0);
      yield* stage.write(0, 0);
      yield* stage.idle(0);
      stage.isRecording = true;
      yield* stage.disconnect(0);
      yield* someWrites(stage, 0, 300);
    },
  },
  {
    title: 'bitmap written out: resync of what a Primary wrote alone',
    sides: [0, 1],
    *run(stage) {
      yield* primaryAlone(stage);
      yield* someWrites(stage, 0, 300);
      yield* stage.flush(0);
      stage.isRecording = true;
      yield* stage.connect(0);
      yield* stage.inSync();
    },
  },
  {
    title: 'bitmap written out, v08, application writes meanwhile',
    sides: [0, 1],
    plan: { format: 'v08', resyncRateKiB: 4000 },
    *run(stage) {
      yield* primaryAlone(stage);
      yield* someWrites(stage, 0, 300);
      yield* stage.begin(0, OP.WriteZeroes, 800, 256);
      yield* stage.flush(0);
      stage.isRecording = true;
      yield* stage.connect(0);
      yield* stage.until(() => stage.world.nodes[0].snapshot()?.connections[0]?.peerDevices[0]?.replicationState === 'SyncSource');
      yield* stage.write(0, 900);
      yield* stage.flush(0);
      yield* stage.inSync();
    },
  },
  {
    title: 'a detached Primary, and attached again',
    sides: [0],
    plan: { sizeSectors: 400 },
    *run(stage) {
      yield* stage.written();
      stage.isRecording = true;
      yield* stage.command(0, { command: 'detach', volume: VOLUME, force: false });
      yield* stage.write(0, 32);
      yield* stage.idle(0);
      yield* stage.until(() => stage.world.nodes[0].diskClosed);
      let isAttached = false;
      stage.world.nodes[0].attach(() => {
        isAttached = true;
      });
      yield* stage.until(() => isAttached);
      yield* stage.inSync();
    },
  },
  {
    title: 'invalidate',
    sides: [0, 1],
    plan: { sizeSectors: 400 },
    *run(stage) {
      yield* stage.written();
      stage.isRecording = true;
      yield* stage.command(1, { command: 'invalidate', volume: VOLUME });
      yield* stage.inSync();
    },
  },
  {
    title: 'outdate',
    sides: [1],
    *run(stage) {
      yield* stage.written();
      yield* stage.disconnect(0);
      stage.isRecording = true;
      yield* stage.command(1, { command: 'outdate', volume: VOLUME });
      yield* stage.connect(0);
      yield* stage.inSync();
    },
  },
  {
    title: 'resize: both devices grew',
    sides: [0, 1],
    plan: { sizeSectors: 2048 },
    *run(stage) {
      yield* stage.written();
      for (const side of [0, 1] as const) stage.grow(side, 400 * 512);
      stage.isRecording = true;
      yield* stage.command(0, { command: 'resize', volume: VOLUME, size: 0, assumePeerHasSpace: false, assumeClean: false });
      yield* stage.until(() => stage.world.nodes.every((node) => node.sizeSectors > 2200));
      yield* stage.write(0, 2100);
      yield* stage.flush(0);
    },
  },
  {
    title: 'resize, v08: less than there is',
    sides: [0, 1],
    plan: { sizeSectors: 2048, format: 'v08' },
    *run(stage) {
      yield* stage.written();
      stage.world.isResized = true;
      stage.world.keptSectors = 1000;
      stage.isRecording = true;
      yield* stage.command(0, { command: 'resize', volume: VOLUME, size: 1000, assumePeerHasSpace: false, assumeClean: false });
      yield* stage.write(0, 900);
      yield* stage.flush(0);
    },
  },
  ...(['clear-bitmap', 'force-resync'] as const).map(
    (how): CrashScenario => ({
      title: `new-current-uuid --${how}`,
      sides: [0, 1],
      plan: { startsFresh: true, sizeSectors: 400 },
      *run(stage) {
        for (const node of stage.world.nodes) node.up();
        yield* stage.connected();
        stage.isRecording = true;
        stage.world.isForced = true;
        const [clearBitmap, forceResync] = [how === 'clear-bitmap', how === 'force-resync'];
        yield* stage.command(0, { command: 'new-current-uuid', volume: VOLUME, clearBitmap, forceResync });
        yield* stage.inSync();
        yield* stage.promote(0);
        yield* stage.write(0, 0);
        yield* stage.flush(0);
      },
    }),
  ),
];
