/**
 * The people and the cluster manager around a pair of nodes: they bring nodes up, promote, demote, connect, and get in the
 * way. A careful operator promotes only a node that has everything; a careless one (plan) anybody.
 */
import type { ControlRequest } from '@udrbd/replication';
import { handshakeOfRestart, isInSync } from './checks.js';
import type { FoundMetaData } from './meta-tools.js';
import { peekMetaData } from './meta-tools.js';
import type { SimNode } from './node.js';
import type { World } from './world.js';

const CONNECTION = 0;
const VOLUME = 0;
const MANAGE_EVERY_MICROS = 700_000;
/** A verify of a large device would take all of a life. */
const VERIFY_SECTORS_MAX = 16_384;

export class Operator {
  readonly #world: World;
  /** A sequence of commands is under way on a node. */
  readonly #busy: [boolean, boolean] = [false, false];
  #waitingSince = 0;
  /** A promotion whose outcome is not known yet: node and its incarnation. */
  #promoting: { readonly node: SimNode; readonly incarnation: number } | undefined;

  constructor(world: World) {
    this.#world = world;
    if (world.plan.startsFresh) world.isForced = true;
  }

  start(): void {
    for (const node of this.#world.nodes) node.up();
    this.#manageLater();
  }

  #manageLater(): void {
    this.#world.queue.after(MANAGE_EVERY_MICROS * (0.5 + this.#world.random.faults.below(100) / 100), () => {
      this.#manage();
      this.#manageLater();
    });
  }

  /** One look at the cluster. */
  #manage(): void {
    const world = this.#world;
    const prng = world.random.faults;
    for (const node of world.nodes) {
      if (!node.isUp) {
        if (world.isQuiet || prng.chance(1, 3)) {
          this.#busy[node.side] = false;
          world.forgetState(node);
          node.up();
        }
        continue;
      }
      if (this.#busy[node.side]) continue;
      const snapshot = node.snapshot()!;
      // Two that froze for each other, and do not come together again.
      const isStuck = snapshot.suspendedFencing && world.isQuiet && snapshot.connections[0]?.state === 'StandAlone';
      if (isStuck) this.#command(node, { command: 'resume-io' });
      if (snapshot.suspendedUser && (world.isQuiet || prng.chance(1, 2))) this.#command(node, { command: 'resume-io' });
      if (snapshot.volumes[0]?.diskState === 'Diskless' && node.diskClosed && prng.chance(1, 2)) {
        this.#busy[node.side] = true;
        node.attach(() => this.#idle(node));
        continue;
      }
      const connection = snapshot.connections[0];
      const peer = connection?.peerDevices[0];
      if (peer?.resyncSuspendedUser && (world.isQuiet || prng.chance(1, 2))) {
        this.#command(node, { command: 'resume-sync', connection: CONNECTION, volume: VOLUME });
      }
      if (connection?.state === 'StandAlone' && (world.isQuiet || prng.chance(1, 3))) this.#reconnect(node);
    }
    if (world.isQuiet) this.#unstick();
    // A fresh pair has no data before somebody says whose these are.
    if (!world.isQuiet || world.isForced) this.#managePrimary();
  }

  /** After a split brain one side has to give its changes up. */
  #reconnect(node: SimNode): void {
    const world = this.#world;
    const bothGaveUp = world.nodes.every((n) => n.snapshot()?.connections[0]?.state === 'StandAlone');
    if (world.isQuiet && world.nodes.every((n) => n.snapshot()?.role === 'Primary') && (bothGaveUp || !world.plan.twoPrimaries)) {
      // Two that will never connect. The one without good data steps down.
      const worse = world.nodes.find((n) => n.snapshot()!.volumes[0]?.diskState !== 'UpToDate') ?? world.nodes[0];
      if (worse === node) this.#demote(node, () => this.#reconnect(node));
      return;
    }
    // What is above it came from a disk that nobody has any more.
    const isOrphan = world.plan.twoPrimaries && (world.mayPart || world.hasTurnedDown) && isDisk(node, 'Diskless');
    // The very first promotion, that by force, never reached its disk: nobody has data, and it is done once more.
    const isUnborn = world.isForced && isDisk(node, 'Inconsistent') && !world.nodes.some((n) => isEverUpToDate(world, n));
    if (world.isQuiet && (world.isBehind[node.side] || isOrphan || isUnborn) && node.snapshot()?.role === 'Primary') {
      world.isBehind[node.side] = false;
      this.#demote(node, () => this.#reconnect(node));
      return;
    }
    let discardMyData = false;
    if (world.splitBrain[0] || world.splitBrain[1]) {
      const sizes = world.history.obliged.map((set) => set.size);
      const victim = sizes[0]! < sizes[1]! ? 0 : 1;
      if (world.victim === undefined) world.victim = victim;
      discardMyData = world.victim === node.side;
      if (discardMyData && node.snapshot()!.role === 'Primary') {
        void this.#demote(node, () => this.#reconnect(node));
        return;
      }
      world.splitBrain[node.side] = false;
    }
    const connect = (): void => this.#command(node, { command: 'connect', connection: CONNECTION, tentative: false, discardMyData });
    if (world.isQuiet && world.isResized) this.#fit(node, connect);
    else connect();
  }

  /** A peer whose device is too small, or that has not heard of a smaller size: both get what the other one has. */
  #fit(node: SimNode, then: () => void): void {
    const { nodes } = this.#world;
    const longest = Math.max(...nodes.map(({ disk }) => disk.sizeBytes));
    for (const { disk } of nodes) if (disk.sizeBytes < longest) disk.grow(longest - disk.sizeBytes);
    const wanted = nodes.map((n) => n.snapshot()?.volumes[0]?.diskOptions.size as number).filter((size) => size > 0);
    const size = wanted.length > 0 ? Math.min(...wanted) : 0;
    const resize: ControlRequest = { command: 'resize', volume: VOLUME, size, assumePeerHasSpace: false, assumeClean: false };
    for (const other of nodes) if (other !== node && other.isUp && !this.#busy[other.side]) this.#command(other, resize);
    this.#busy[node.side] = true;
    node.control(resize, then);
  }

  /** In the quiet phase: a resync that cannot end is begun anew. */
  #unstick(): void {
    const world = this.#world;
    const { queue } = world;
    if (world.nodes.every((node) => isInSync(node.snapshot()))) {
      this.#waitingSince = queue.now;
      return;
    }
    if (queue.now - this.#waitingSince < 40_000_000) return;
    this.#waitingSince = queue.now;
    // The very first promotion by force never reached a disk: nobody has data, and it is done once more.
    const unborn = world.nodes.find((n) => n.isUp && !this.#busy[n.side] && n.snapshot()!.role === 'Primary');
    if (unborn !== undefined && world.isForced && world.nodes.every((n) => isDisk(n, 'Inconsistent') && !isEverUpToDate(world, n))) {
      this.#demote(unborn, () => {});
      return;
    }
    // A disk whose generation does not go with the peer's is negotiated about for ever.
    const negotiating = world.nodes.find((n) => n.snapshot()?.volumes[0]?.diskState === 'Negotiating');
    const node = negotiating ?? world.nodes[0];
    if (!node.isUp || this.#busy[node.side]) return;
    const disconnect = (): void => this.#command(node, { command: 'disconnect', connection: CONNECTION, force: true });
    if (negotiating?.snapshot()?.role === 'Primary') this.#demote(node, disconnect);
    else disconnect();
  }

  #managePrimary(): void {
    const world = this.#world;
    const { nodes, plan, workloads } = world;
    const prng = world.random.faults;
    const primaries = nodes.filter((node) => node.snapshot()?.role === 'Primary');
    for (const node of primaries) if (!world.isQuiet && !workloads[node.side].isOpen && !this.#busy[node.side]) workloads[node.side].open();
    if (primaries.length === 1 && plan.twoPrimaries) return this.#manageSecondPrimary();
    if (primaries.length > 0 && !(plan.careless && prng.chance(1, 20))) return;
    const up = nodes.filter((node) => node.isUp && !this.#busy[node.side] && node.snapshot()!.role === 'Secondary');
    if (up.length === 0 || !prng.chance(2, 3)) return;
    const candidate = prng.pick(up);
    if (world.isForced) {
      // The very first promotion of a fresh pair.
      if (this.#isRivalPromoting(candidate)) return;
      const disk = candidate.snapshot()!.volumes[0]?.diskState;
      if (disk === 'Inconsistent' && nodes.every((node) => !isEverUpToDate(world, node))) return this.#promote(candidate, true);
      if (nodes.some((node) => isEverUpToDate(world, node))) world.isForced = false;
    }
    const isCurrent = this.#isCurrent(candidate);
    if (!isCurrent && !plan.careless) return;
    if (!isCurrent) world.isDiverged = true;
    this.#promote(candidate, false);
  }

  /** A second Primary has to be connected to the first one; its disk may still be on the way to being good. */
  #manageSecondPrimary(): void {
    const { nodes, random } = this.#world;
    const candidate = nodes.find((node) => node.isUp && !this.#busy[node.side] && node.snapshot()!.role === 'Secondary');
    if (candidate === undefined || this.#isRivalPromoting(candidate)) return;
    const peer = candidate.snapshot()!.connections[0]!.peerDevices[0]!;
    const isTarget = peer.replicationState === 'SyncTarget' && peer.peerDiskState === 'UpToDate';
    const both = nodes.every((node) => node.snapshot()?.connections[0]?.state === 'Connected');
    const chance = isTarget ? 1 : isInSync(candidate.snapshot()) ? 4 : 0;
    if (both && chance > 0 && random.faults.chance(chance, 6)) this.#promote(candidate, false);
  }

  /** The other node has been told to promote and has not answered. */
  #isRivalPromoting(node: SimNode): boolean {
    const rival = this.#promoting;
    return rival !== undefined && rival.node !== node && rival.node.isUp && rival.node.incarnation === rival.incarnation;
  }

  /** Whether the node has everything that was ever completed, and nobody else began a generation of its own. */
  #isCurrent(node: SimNode): boolean {
    const world = this.#world;
    if (this.#isRivalPromoting(node)) return false;
    const snapshot = node.snapshot()!;
    if (snapshot.volumes[0]?.diskState !== 'UpToDate') return false;
    const peer = node.side === 0 ? 1 : 0;
    if (world.plan.protocol === 'C' && world.history.missing(peer, node.side).length > 0) return false;
    // One node alone may not have noticed yet that the other one is gone and has gone on without it.
    if (world.nodes.every((n) => isInSync(n.snapshot()))) return true;
    if (world.nodes[peer].snapshot()?.role === 'Primary') return false;
    if (world.plan.protocol !== 'C' && world.history.missing(peer, node.side).length > 0) return false;
    const found = world.nodes.map((n) => peekMetaData(n.disk, world.plan.format)) as [FoundMetaData, FoundMetaData];
    const { result } = handshakeOfRestart(found, world.plan.format, world.plan.genuinePeers).verdict;
    const mine = node.side === 0 ? result : -result;
    return result === 0 || mine === 1 || mine === 2;
  }

  #promote(node: SimNode, force: boolean): void {
    this.#busy[node.side] = true;
    const promotion = { node, incarnation: node.incarnation };
    this.#promoting = promotion;
    node.control({ command: 'primary', force }, (error) => {
      this.#idle(node);
      if (this.#promoting === promotion) this.#promoting = undefined;
      if (error === undefined && !this.#world.isQuiet) this.#world.workloads[node.side].open();
    });
  }

  /** Closes the device, waits for its requests, then demotes. */
  #demote(node: SimNode, then: () => void): void {
    const workload = this.#world.workloads[node.side];
    const { incarnation } = node;
    this.#busy[node.side] = true;
    workload.close();
    const attempt = (rounds: number): void => {
      if (node.incarnation !== incarnation || !node.isUp) return this.#idle(node);
      if (workload.running > 0 && rounds < 100) {
        this.#world.queue.after(100_000, () => attempt(rounds + 1));
        return;
      }
      if (workload.running > 0) {
        this.#idle(node);
        return;
      }
      node.control({ command: 'secondary', openVolumes: [], force: false }, (error) => {
        this.#idle(node);
        if (error === undefined) then();
      });
    };
    attempt(0);
  }

  /** The application finds its I/O failing, and closes the device after a while. */
  #demoteByForce(node: SimNode): void {
    const workload = this.#world.workloads[node.side];
    const { incarnation } = node;
    this.#busy[node.side] = true;
    node.control({ command: 'secondary', openVolumes: [VOLUME], force: true }, (error) => {
      this.#idle(node);
      if (error !== undefined) return;
      if (node.snapshot()?.role !== 'Secondary') this.#world.violation(`C3 ${node.name}: not demoted by force`);
      this.#world.queue.after(this.#world.random.faults.below(2_000_000), () => {
        if (node.incarnation !== incarnation || !node.isUp) return;
        workload.close();
        this.#command(node, { command: 'closed' });
      });
    });
  }

  #command(node: SimNode, request: ControlRequest): void {
    this.#busy[node.side] = true;
    const { incarnation } = node;
    // An answer may take its time, but not for ever.
    const limit = this.#world.queue.after(300_000_000, () => {
      if (node.incarnation === incarnation && node.isUp && this.#world.isQuiet)
        this.#world.violation(`L2 ${node.name}: no answer to ${request.command}`);
    });
    node.control(request, () => {
      this.#world.queue.cancel(limit);
      this.#idle(node);
    });
  }

  #idle(node: SimNode): void {
    this.#busy[node.side] = false;
  }

  /** A volume that this one comes after begins a resync, or has ended it. */
  otherResync(): void {
    const prng = this.#world.random.resize;
    prng.pick(this.#world.nodes).othersComeFirst(prng.chance(1, 2));
  }

  /** Longer devices on some nodes, and now and then the command to use them, or to use less. */
  resize(): void {
    const world = this.#world;
    const prng = world.random.resize;
    const step = prng.pick([8, 72, 80, 400, 2000, 9000]) * 512;
    for (const node of world.nodes) {
      // Meta-data that have not moved yet would be looked for at the end before the last.
      if (node.disk.sizes.length > 6 || !prng.chance(2, 3)) continue;
      world.isResized = true;
      world.trace(node, `device grows by ${step} bytes`);
      node.disk.grow(step);
    }
    const node = prng.pick(world.nodes);
    if (!node.isUp || this.#busy[node.side]) return;
    const snapshot = node.snapshot()!;
    const isAlone = snapshot.connections[0]?.state !== 'Connected';
    // A Secondary that grows alone begins no generation: nobody would know that its new blocks differ.
    const assumePeerHasSpace = isAlone && snapshot.role === 'Primary' && prng.chance(1, 2);
    const written = Math.max(0, ...world.history.sectors()) + 1;
    const most = snapshot.volumes[0]?.sizeSectors ?? 0;
    const size = prng.chance(1, 5) && most > written ? written + prng.below(most - written) : 0;
    if (size > 0) {
      world.isResized = true;
      world.keptSectors = Math.min(world.keptSectors, size);
    }
    this.#command(node, { command: 'resize', volume: VOLUME, size, assumePeerHasSpace, assumeClean: false });
  }

  /** Something an administrator may do at any time. */
  meddle(): void {
    const world = this.#world;
    const prng = world.random.faults;
    const node = prng.pick(world.nodes);
    if (!node.isUp || this.#busy[node.side]) return;
    const snapshot = node.snapshot()!;
    const isPrimary = snapshot.role === 'Primary';
    const inSync = isInSync(snapshot);
    switch (prng.below(13)) {
      case 0:
      case 1:
      case 2: {
        if (!isPrimary) return;
        const peer = world.nodes[node.side === 0 ? 1 : 0];
        return this.#demote(node, () => {
          if (peer.isUp && !this.#busy[peer.side] && this.#isCurrent(peer) && !world.isQuiet) this.#promote(peer, false);
        });
      }
      case 3:
        return this.#command(node, { command: 'disconnect', connection: CONNECTION, force: prng.chance(1, 3) });
      case 4: {
        const { protocol, diskErrorsOn, diskErrorsPerMillion, hangEvery } = world.plan;
        // A and B promise nothing about what a Primary that gives its disk up has not seen acked, when the peer's disk fails too.
        const mayPeerFail = diskErrorsOn !== node.side && (diskErrorsPerMillion > 0 || hangEvery < Number.POSITIVE_INFINITY);
        if (isPrimary && protocol !== 'C' && mayPeerFail) return;
        return this.#command(node, { command: 'detach', volume: VOLUME, force: false });
      }
      case 5:
        // Only where another copy is: an invalidated last copy is data loss by command.
        if (inSync && !isPrimary) this.#command(node, { command: 'invalidate', volume: VOLUME });
        return;
      case 6:
        if (inSync) this.#command(node, { command: 'invalidate-remote', connection: CONNECTION, volume: VOLUME });
        return;
      case 7:
        return this.#command(node, { command: 'pause-sync', connection: CONNECTION, volume: VOLUME });
      case 8:
        return this.#command(node, { command: 'suspend-io' });
      case 9:
        if (isPrimary && prng.chance(1, 3)) return this.#demoteByForce(node);
        if (isPrimary) {
          this.#busy[node.side] = true;
          node.control({ command: 'secondary', openVolumes: [VOLUME], force: false }, (error) => {
            this.#idle(node);
            if (error === undefined) world.violation(`C3 ${node.name}: demoted while its device is open`);
          });
        }
        return;
      case 10:
      case 11: {
        if (!inSync) return;
        const sectors = snapshot.volumes[0]!.sizeSectors;
        const start = prng.chance(1, 3) ? undefined : prng.below(sectors);
        const stop = (start ?? 0) + prng.below(VERIFY_SECTORS_MAX);
        return this.#command(node, { command: 'verify', connection: CONNECTION, volume: VOLUME, start, stop });
      }
      default:
        return this.#command(node, { command: 'outdate', volume: VOLUME });
    }
  }
}

/** Bit 0 says that the node was Primary. */
const isEverUpToDate = (world: World, node: SimNode): boolean => (peekMetaData(node.disk, world.plan.format).md.current_uuid & ~1n) !== 4n;

const isDisk = (node: SimNode, state: 'Diskless' | 'Inconsistent'): boolean => node.snapshot()?.volumes[0]?.diskState === state;
