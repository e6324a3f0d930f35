/** One life of a cluster: faults for a while, then quiet, in which everything has to become well again. */
import { isInSync } from './checks.js';
import { type Canary, drawPlan, type LifePlan } from './life-plan.js';
import { Operator } from './operator.js';
import { type CoreFactory, World } from './world.js';

export interface LifeResult {
  readonly seed: number;
  /** What was violated, or undefined. */
  readonly failure: string | undefined;
  /** Equal for equal seeds and code. */
  readonly traceHash: number;
  readonly simulatedSeconds: number;
  readonly events: number;
  readonly writes: number;
}

const SECOND = 1_000_000;
/** L1: time to get well, resynchronisation included. */
const QUIET_SECONDS = 600;
const CLOSURE_EVERY = 60;
const EVENTS_MAX = 3_000_000;

export interface LifeOptions {
  readonly canary?: Canary;
  readonly trace?: (line: string) => void;
  readonly plan?: Partial<LifePlan>;
  /** The life has two Primaries, whatever the seed says. */
  readonly twoPrimaries?: boolean;
}

export function runLife(seed: number, createCore: CoreFactory, options: LifeOptions = {}): LifeResult {
  const plan: LifePlan = { ...drawPlan(seed, options.canary, options.twoPrimaries), ...options.plan };
  const world = new World(plan, createCore, options.trace);
  try {
    live(world);
  } catch (error) {
    world.violation(`crash: ${error instanceof Error ? error.stack : String(error)}`);
  }
  return {
    seed,
    failure: world.failure,
    traceHash: world.traceHash,
    simulatedSeconds: world.queue.now / SECOND,
    events: world.queue.steps,
    writes: world.history.writes.length,
  };
}

function live(world: World): void {
  const { plan } = world;
  const operator = new Operator(world);
  operator.start();
  scheduleFaults(world, operator);
  if (runUntil(world, plan.seconds * SECOND, () => false)) becomeWell(world);
}

/** The quiet phase: no more faults; everything has to become well again, and stay so. */
export function becomeWell(world: World): void {
  const { queue } = world;
  world.isQuiet = true;
  world.trace(undefined, 'quiet');
  world.network.setDirection(0, true);
  world.network.setDirection(1, true);
  for (const workload of world.workloads) workload.close();
  for (const node of world.nodes) node.othersComeFirst(false);
  const since = queue.now;
  if (!runUntil(world, since + QUIET_SECONDS * SECOND, () => isWell(world))) return;
  if (!isWell(world)) {
    if (!isExcused(world)) world.violation(`L1: not well after ${QUIET_SECONDS} s: ${describe(world)}`);
    return;
  }
  // Nothing more may happen to data that is at rest.
  if (!runUntil(world, queue.now + 12 * SECOND, () => false)) return;
  finalChecks(world);
}

/** @returns false when something was violated */
function runUntil(world: World, until: number, isDone: () => boolean): boolean {
  const { queue, checks } = world;
  while (world.failure === undefined && queue.step(until)) {
    if (queue.steps % CLOSURE_EVERY === 0) {
      checks.crashClosure();
      if (world.plan.protocol !== 'C' && world.isAtRest) checks.atRest();
    }
    if (queue.steps % 16 === 0 && isDone()) return world.failure === undefined;
    if (queue.steps > EVENTS_MAX) world.violation(`L3: ${EVENTS_MAX} events`);
  }
  return world.failure === undefined;
}

function isWell(world: World): boolean {
  if (world.workloads.some((workload) => workload.running > 0) || !world.isAtRest) return false;
  return world.nodes.every((node) => {
    if (node.io.isHanging) return false;
    const snapshot = node.snapshot();
    return isInSync(snapshot) && snapshot?.connections[0]?.peerDevices[0]?.replicationState === 'Established';
  });
}

/** No good copy is left, by disk errors; or the operator made two that have nothing in common. */
function isExcused(world: World): boolean {
  if (world.unrelated) return true;
  if (world.plan.diskErrorsPerMillion === 0) return false;
  return world.nodes.every((node) => node.snapshot()?.volumes[0]?.diskState !== 'UpToDate');
}

const describe = (world: World): string =>
  world.nodes
    .map((node) => {
      const snapshot = node.snapshot();
      const connection = snapshot?.connections[0];
      const peer = connection?.peerDevices[0];
      const states = `${connection?.state}/${peer?.replicationState} ${snapshot?.role} ${snapshot?.volumes[0]?.diskState}/${peer?.peerDiskState}`;
      return `${node.name} ${states} oos:${peer?.outOfSyncSectors} pe:${peer?.pending} ua:${peer?.unacked} running:${world.workloads[node.side].running}`;
    })
    .join(', ');

function finalChecks(world: World): void {
  const { checks, nodes } = world;
  checks.atRest();
  checks.contents(nodes[0], 'at the end');
  checks.contents(nodes[1], 'at the end');
  checks.identical('at the end');
  if (!isWell(world)) return world.violation(`L1: not well any more: ${describe(world)}`);
  const [a, b] = nodes.map((node) => node.snapshot()!.volumes[0]!.currentUuid);
  if ((a! & ~1n) !== (b! & ~1n)) world.violation(`D6: in sync with different generations ${a!.toString(16)} and ${b!.toString(16)}`);
  for (const node of nodes) {
    const { requests } = node.core!;
    if (requests.freeApplicationSlots !== requests.applicationSlots) {
      world.violation(`R1 ${node.name}: ${requests.applicationSlots - requests.freeApplicationSlots} application slots are not given back`);
    }
    const peerSlots = requests.capacity - requests.applicationSlots;
    if (requests.freePeerSlots !== peerSlots)
      world.violation(`R1 ${node.name}: ${peerSlots - requests.freePeerSlots} peer slots are not given back`);
  }
}

function scheduleFaults(world: World, operator: Operator): void {
  const { plan, queue, network, nodes, workloads } = world;
  const prng = world.random.faults;
  const every = (meanSeconds: number, act: () => void): void => {
    if (meanSeconds === Number.POSITIVE_INFINITY) return;
    queue.after(prng.interval(meanSeconds * SECOND), () => {
      if (world.isQuiet) return;
      act();
      every(meanSeconds, act);
    });
  };
  const victims = (): readonly (typeof nodes)[number][] => (prng.chance(1, 4) ? nodes : [prng.pick(nodes)]);
  every(plan.powerCutEvery, () => {
    for (const node of victims()) {
      if (node.isUp) world.cutPower(node);
    }
    world.checks.crashClosure();
  });
  every(plan.killEvery, () => {
    for (const node of victims()) {
      if (!node.isUp) continue;
      workloads[node.side].gone();
      node.kill();
    }
    world.checks.touched();
    world.checks.crashClosure();
  });
  every(plan.partitionEvery, () => {
    const directions = prng.chance(2, 3) ? ([0, 1] as const) : ([prng.below(2) as 0 | 1] as const);
    world.trace(undefined, `partition of ${directions.join(' and ')}`);
    for (const direction of directions) network.setDirection(direction, false);
    queue.after(prng.interval(6 * SECOND), () => {
      world.trace(undefined, 'heal');
      for (const direction of directions) network.setDirection(direction, true);
    });
  });
  every(plan.resetEvery, () => {
    world.trace(undefined, 'reset');
    network.resetAll();
  });
  every(plan.commandEvery, () => operator.meddle());
  every(plan.hangEvery, () => nodes[plan.diskErrorsOn].io.hangs(prng.interval(4 * SECOND)));
  every(plan.dependEvery, () => operator.otherResync());
  every(plan.resizeEvery, () => operator.resize());
}
