/** What has to hold, looked at from outside: disks, snapshots and what the applications were told. Names as in docs/simulator.md. */

import { MDF, MDF_PEER } from '@udrbd/metadata';
import { CONN, DISK, type DiskNumber, type Generations, type ResourceSnapshot, ROLE, syncHandshake } from '@udrbd/replication';
import type { NodeId } from './history.js';
import { type FoundMetaData, hotExtentsOnDisk, peekMetaData } from './meta-tools.js';
import type { SimNode } from './node.js';
import { isSameMemory, zeroes } from './payload.js';
import { readStamp, SECTOR } from './stamp.js';
import type { World } from './world.js';

const EXTENT_SECTORS = 8192;
const ZEROES = zeroes(4096);

export class Checks {
  readonly #world: World;
  readonly #hot: [Set<number> | undefined, Set<number> | undefined] = [undefined, undefined];
  #isTouched = true;
  /** Pages that differed when they were last looked at, and their sectors that did as bits. */
  readonly #unequalPages = new Map<number, number>();
  /** Completed writes that a node lost in a power cut, as it may. */
  readonly excused: readonly [Set<number>, Set<number>] = [new Set(), new Set()];
  #lastRestart: { readonly found: [FoundMetaData, FoundMetaData]; readonly outcome: ReturnType<typeof syncHandshake> } | undefined;
  /** Of each node, also once that is gone. */
  readonly #lastConnection: [string | undefined, string | undefined] = [undefined, undefined];
  #wasPair = true;
  #target: NodeId | undefined;
  /** How often each node had come up when the resync to it ran. */
  #incarnations: readonly number[] = [];

  constructor(world: World) {
    this.#world = world;
  }

  touched(): void {
    this.#isTouched = true;
  }

  /** The activity log on a disk is another one now. */
  activityLogChanged(node: SimNode): void {
    this.#hot[node.side] = undefined;
    this.#isTouched = true;
  }

  /** Extents that the activity log of a node names for certain. */
  #hotOf(node: SimNode, found: FoundMetaData): ReadonlySet<number> {
    let hot = this.#hot[node.side];
    if (hot === undefined) {
      hot = new Set(hotExtentsOnDisk(node.disk, found, true));
      this.#hot[node.side] = hot;
    }
    return hot;
  }

  /** M2: the activity log on disk names the extents of a write before it goes to the disk or to the peer. */
  beforeApplicationWrite(node: SimNode, sector: number, lengthBytes: number): void {
    if (lengthBytes === 0) return;
    const hot = this.#hot[node.side] ?? this.#hotOf(node, peekMetaData(node.disk, this.#world.plan.format, true));
    const last = Math.floor((sector + lengthBytes / SECTOR - 1) / EXTENT_SECTORS);
    for (let extent = Math.floor(sector / EXTENT_SECTORS); extent <= last; extent++) {
      if (hot.has(extent)) continue;
      const volume = node.snapshot()!.volumes[0]!;
      if (volume.alSuspended || volume.diskState === 'Diskless' || volume.diskState === 'Failed' || volume.diskState === 'Detaching')
        return;
      // While meta-data move within their own area, the super block says that nothing is known of the disk.
      if (isFullSync(peekMetaData(node.disk, this.#world.plan.format, true))) return;
      this.#world.violation(`M2 ${node.name}: write to sector ${sector} before extent ${extent} is in the activity log on disk`);
      return;
    }
  }

  // --- contents ---

  #value(node: SimNode, sector: number): number {
    const page = node.disk.page(Math.floor(sector / 8));
    return page === undefined ? 0 : readStamp(page, (sector % 8) * SECTOR, sector);
  }

  /** D2, D3, D7: the disk of a node that calls it UpToDate holds what it has to. */
  contents(node: SimNode, when: string): void {
    const { history, queue } = this.#world;
    for (const sector of history.sectors()) {
      const complaint = history.complaint(node.side, sector, this.#value(node, sector), queue.now);
      if (complaint === undefined) continue;
      this.#world.violation(`D7 ${node.name} ${when}: sector ${sector} ${complaint}`);
      return;
    }
  }

  /** D6: byte for byte. */
  identical(when: string): void {
    const [a, b] = this.#world.nodes;
    const [left, right] = [a, b].map((node) => node.snapshot()?.volumes[0]?.sizeSectors ?? 0);
    if (left !== right) return this.#world.violation(`D6 ${when}: ${left} sectors on a, ${right} on b`);
    const sector = this.#firstDifference(left!, () => false);
    if (sector === undefined) return;
    const values = `${this.#value(a, sector)} on a, ${this.#value(b, sector)} on b`;
    this.#world.violation(`D6 ${when}: the disks differ at sector ${sector}: write ${values}`);
  }

  /** Of the first `sectors` one that is not equal on the two disks, and whose page may not differ. */
  #firstDifference(sectors: number, mayDiffer: (page: number) => boolean): number | undefined {
    const [a, b] = this.#world.nodes;
    for (const number of a.disk.touchedPages) {
      b.disk.touchedPages.delete(number);
      this.#comparePage(number);
    }
    for (const number of b.disk.touchedPages) this.#comparePage(number);
    a.disk.touchedPages.clear();
    b.disk.touchedPages.clear();
    for (const [number, unequal] of this.#unequalPages) {
      if (mayDiffer(number)) continue;
      const end = Math.min(8, sectors - number * 8);
      for (let i = 0; i < end; i++) if ((unequal & (1 << i)) !== 0) return number * 8 + i;
    }
    return undefined;
  }

  #comparePage(number: number): void {
    const [a, b] = this.#world.nodes;
    const left = a.disk.page(number) ?? ZEROES;
    const right = b.disk.page(number) ?? ZEROES;
    if (isSameMemory(left, right) || Buffer.compare(left, right) === 0) {
      this.#unequalPages.delete(number);
      return;
    }
    let unequal = 0;
    for (let i = 0, at = 0; i < 8; i++, at += SECTOR) {
      if (Buffer.compare(left.subarray(at, at + SECTOR), right.subarray(at, at + SECTOR)) !== 0) unequal |= 1 << i;
    }
    this.#unequalPages.set(number, unequal);
  }

  /**
   * D5: if both nodes stopped at this instant, the handshake of their restart would resynchronise every sector that differs:
   * it is marked in a bitmap on disk, or lies in an extent of a Primary's activity log.
   */
  crashClosure(): void {
    if (!this.#isTouched) return;
    this.#isTouched = false;
    const world = this.#world;
    const found = world.nodes.map((node) => peekMetaData(node.disk, world.plan.format, true)) as [FoundMetaData, FoundMetaData];
    const outcome = this.#restart(found);
    if (outcome.kind === 'abort' || outcome.setAllBits) return;
    // Two fresh disks that nobody has called good: each holds what was on it before, where it has grown too.
    if (outcome.verdict.rule === 10 && found.every(({ md }) => (md.flags & MDF.CONSISTENT) === 0)) return;
    const covered = world.nodes.map((node) => {
      const isReplayed = (found[node.side].md.flags & MDF.PRIMARY_IND) !== 0;
      return coverage(node, found[node.side], isReplayed ? this.#hotOf(node, found[node.side]) : NOTHING);
    }) as [Coverage, Coverage];
    const agreed = Math.min(...found.map(({ md, place }) => md.effective_size || place.usableSectors));
    // A page is what a bit of the bitmap stands for.
    const isMarked = (page: number): boolean => outcome.conn !== CONN.Connected && (covered[0](page) || covered[1](page));
    const sector = this.#firstDifference(agreed, isMarked);
    if (sector === undefined) return;
    const values = [this.#value(world.nodes[0], sector), this.#value(world.nodes[1], sector)] as const;
    const verdict = `rule ${outcome.verdict.rule} would ${outcome.conn === CONN.Connected ? 'not resync' : 'resync by bitmap'}`;
    world.violation(`D5: sector ${sector} differs (write ${values[0]} on a, ${values[1]} on b), is not marked, and ${verdict}`);
  }

  /** The handshake of two super blocks, as long as they are the same. */
  #restart(found: [FoundMetaData, FoundMetaData]): ReturnType<typeof syncHandshake> {
    const last = this.#lastRestart;
    if (last?.found[0] === found[0] && last.found[1] === found[1]) return last.outcome;
    const outcome = handshakeOfRestart(found, this.#world.plan.format, this.#world.plan.genuinePeers);
    this.#lastRestart = { found, outcome };
    return outcome;
  }

  // --- states ---

  /** Looks at a change of state of one node. */
  stateChanged(node: SimNode, before: ResourceSnapshot | undefined, after: ResourceSnapshot): void {
    const world = this.#world;
    const disk = after.volumes[0]?.diskState;
    const peer = after.connections[0]?.peerDevices[0];
    this.#lastConnection[node.side] = after.connections[0]?.state;
    if (before?.role !== 'Primary' && after.role === 'Primary') {
      if (disk !== 'UpToDate' && peer?.peerDiskState !== 'UpToDate' && !world.isForced) {
        world.violation(`D7 ${node.name}: promoted with ${disk}/${peer?.peerDiskState}`);
      }
      if (disk === 'UpToDate') this.contents(node, 'at promotion');
      // The second one was promoted while the link to the first broke: each goes on by itself.
      const isAlone = after.connections[0]?.state !== 'Connected';
      if (world.plan.twoPrimaries && isAlone && world.nodes.every((n) => n === node || n.snapshot()?.role === 'Primary'))
        world.isDiverged = true;
    }
    const replication = peer?.replicationState;
    if (replication === 'SyncTarget' || replication === 'PausedSyncT') {
      this.#target = node.side;
      this.#incarnations = world.nodes.map(({ incarnation }) => incarnation);
      // What the source lost, as it may, is overwritten here from now on.
      const source: NodeId = node.side === 0 ? 1 : 0;
      for (const id of this.excused[source]) {
        this.excused[node.side].add(id);
        world.history.obliged[node.side].delete(id);
      }
      if (world.isDiverged || world.victim === node.side) {
        // The operator's choice: what only this node has is given up.
        for (const id of world.history.obliged[node.side])
          if (!world.history.obliged[source].has(id)) world.history.obliged[node.side].delete(id);
      }
    }
    if (replication === 'Established' && this.#target === node.side && disk === 'UpToDate') this.#targetIsDone(node.side);
    const isPair = world.nodes.every((n) => isInSync(n === node ? after : n.snapshot()));
    if (isPair && !this.#wasPair) this.#paired();
    this.#wasPair = isPair;
    const primaries = world.nodes.filter((n) => (n === node ? after : n.snapshot())?.role === 'Primary');
    if (isPair && primaries.length === 2 && !world.plan.twoPrimaries) world.violation('I21: two Primaries are connected');
  }

  /** The end of a resync as its target sees it: should the source fail in the same moment, the target has its data nevertheless. */
  #targetIsDone(target: NodeId): void {
    const { plan, history, nodes } = this.#world;
    const source: NodeId = target === 0 ? 1 : 0;
    const state = nodes[source].snapshot()?.connections[0]?.state ?? this.#lastConnection[source];
    if (state === 'Connected' && plan.protocol === 'C') history.addObligations(source, target);
  }

  /** Both nodes say that they are equal. */
  #paired(): void {
    const world = this.#world;
    const { history } = world;
    const target = this.#target;
    this.#target = undefined;
    if (target === undefined) {
      if (world.plan.protocol === 'C') history.uniteObligations();
      world.trace(undefined, 'in sync without resync');
    } else {
      const source: NodeId = target === 0 ? 1 : 0;
      world.trace(undefined, `in sync, ${world.nodes[target].name} resynchronised from ${world.nodes[source].name}`);
      if (world.victim !== target && world.plan.protocol === 'C' && !world.isDiverged) {
        for (const write of history.missing(target, source)) {
          if (this.excused[source].has(write.id)) continue;
          const how = `${world.nodes[target].name} became sync target of a node without it`;
          world.violation(`D2: completed write ${write.id} at sector ${write.sector} of node ${write.node} is lost: ${how}`);
          return;
        }
      }
      world.victim = undefined;
      const left = world.nodes.map((node) => node.snapshot()!.connections[0]!.peerDevices[0]!.outOfSyncSectors);
      const added = addedSectors(world.nodes);
      // What is new of a device is marked before it is there.
      const isGrowing = world.nodes.some((node) => node.isGrowing);
      // A node that went down when it was through has the marks that its disk had then: nothing is copied, nothing clears them.
      const isLeft = left.some((sectors, side) => sectors > added[side]! && world.nodes[side]!.incarnation === this.#incarnations[side]);
      if (world.plan.diskErrorsPerMillion === 0 && !isGrowing && isLeft) {
        world.violation(`D6: ${left[0]} sectors on a and ${left[1]} on b are still marked after a resync`);
        return;
      }
      for (const id of this.excused[source]) this.excused[target].add(id);
      if (world.plan.protocol === 'C' || world.isAtRest) history.copyObligations(source, target);
      else history.intersectObligations(source, target);
    }
    this.contents(world.nodes[0], 'in sync');
    this.contents(world.nodes[1], 'in sync');
  }

  /** With asynchronous protocols the peer has to have everything only when nothing is under way. */
  atRest(): void {
    const { history, nodes } = this.#world;
    if (!this.#wasPair) return;
    const primary = nodes.find((node) => node.snapshot()?.role === 'Primary');
    if (primary !== undefined) history.copyObligations(primary.side, primary.side === 0 ? 1 : 0);
  }

  // --- power cuts ---

  /** D2, D4, M1 on the image that a power cut left. */
  afterPowerCut(node: SimNode, before: ResourceSnapshot | undefined): void {
    const world = this.#world;
    const { history } = world;
    this.activityLogChanged(node);
    // Nothing is promised of a disk that waits for the rest of a resync.
    if (before?.volumes[0]?.diskState === 'Inconsistent') return;
    const side = node.side;
    const lost = new Set<number>();
    const kept = new Set<number>();
    for (const sector of history.sectors()) {
      const value = this.#value(node, sector);
      kept.add(value);
      for (const id of history.lostBy(side, sector, value)) lost.add(id);
    }
    for (const id of lost) {
      const write = history.write(id)!;
      // A node without a disk, or with one that is still negotiating, has flushed nothing of its own.
      if (write.node === side && write.durable && IN_SERVICE.has(before?.volumes[0]?.diskState)) {
        world.violation(`D2 ${node.name}: write ${id} at sector ${write.sector} was flushed and is lost by a power cut`);
        return;
      }
    }
    // The end of a resync may not have reached the super block: then the disk says itself that it waits for the rest.
    const isConsistent = (peekMetaData(node.disk, world.plan.format).md.flags & MDF.CONSISTENT) !== 0;
    if (isConsistent && before?.volumes[0]?.diskState === 'UpToDate' && before.role === 'Secondary') this.#epochOrder(node, lost, kept);
    for (const id of lost) {
      history.obliged[side].delete(id);
      this.excused[side].add(id);
    }
  }

  /** D4: what a Secondary kept implies all that had been completed before it was begun. */
  #epochOrder(node: SimNode, lost: ReadonlySet<number>, kept: ReadonlySet<number>): void {
    const { history } = this.#world;
    for (const lostId of lost) {
      const first = history.write(lostId)!;
      if (first.node === node.side) continue;
      for (const keptId of kept) {
        const second = keptId > 0 ? history.write(keptId) : undefined;
        if (second === undefined || second.node === node.side || second.start <= first.end) continue;
        const what = `write ${second.id} survived a power cut, write ${first.id}, completed before it began, did not`;
        this.#world.violation(`D4 ${node.name}: ${what}`);
        return;
      }
    }
  }
}

const IN_SERVICE: ReadonlySet<string | undefined> = new Set(['Outdated', 'Consistent', 'UpToDate']);

/** This node is connected and in sync, as far as it knows. */
export function isInSync(snapshot: ResourceSnapshot | undefined): boolean {
  const peer = snapshot?.connections[0]?.peerDevices[0];
  return (
    snapshot?.connections[0]?.state === 'Connected' &&
    SETTLED.has(peer?.replicationState) &&
    peer?.peerDiskState === 'UpToDate' &&
    snapshot.volumes[0]?.diskState === 'UpToDate'
  );
}

/** Blocks that only one of the nodes has: it marks them when it grows, and the other one may not have heard of it. In sectors. */
function addedSectors(nodes: readonly SimNode[]): readonly number[] {
  const sizes = nodes.map((node) => node.snapshot()!.volumes[0]!.sizeSectors);
  const common = Math.floor(Math.min(...sizes) / 8);
  return sizes.map((size, side) => (size > sizes[1 - side]! ? (Math.ceil(size / 8) - common) * 8 : 0));
}

/** A verify changes nothing. */
const SETTLED: ReadonlySet<string | undefined> = new Set(['Established', 'VerifyS', 'VerifyT']);

export function generationsOf({ md }: FoundMetaData, side: number, format: 'v08' | 'v09'): Generations {
  const peer = md.peers[format === 'v08' ? 0 : 1 - side]!;
  return { current: md.current_uuid, bitmap: peer.bitmap_uuid, history: [md.history_uuids[0]!, md.history_uuids[1]!] };
}

const POLICIES = {
  afterSb0pri: 'disconnect',
  afterSb1pri: 'disconnect',
  afterSb2pri: 'disconnect',
  rrConflict: 'disconnect',
  alwaysAsbp: false,
};

/** What the two nodes would do if both were started now from what is on their disks. */
export function handshakeOfRestart(
  found: readonly [FoundMetaData, FoundMetaData],
  format: 'v08' | 'v09',
  isPeerGenuine: boolean,
): ReturnType<typeof syncHandshake> {
  const disks = found.map(({ md }) => diskAfterAttach(md.flags)) as [DiskNumber, DiskNumber];
  const crashed = found.map(({ md }) => (md.flags & (MDF.PRIMARY_IND | MDF.CRASHED_PRIMARY)) !== 0) as [boolean, boolean];
  return syncHandshake({
    self: generationsOf(found[0], 0, format),
    peer: generationsOf(found[1], 1, format),
    role: ROLE.Secondary,
    peerRole: ROLE.Secondary,
    disk: disks[0],
    diskAfterAttach: disks[0],
    peerDisk: disks[1],
    selfCrashedPrimary: crashed[0],
    peerCrashedPrimary: crashed[1],
    selfBits: 0,
    peerBits: 0,
    peerFlags: 0,
    discardMyData: false,
    peerDiscardMyData: false,
    tentative: false,
    isPeerGenuine,
    resolveConflicts: false,
    apv: 101,
    features: 0xf,
    policies: POLICIES,
  });
}

const diskAfterAttach = (flags: number): DiskNumber =>
  (flags & MDF.CONSISTENT) === 0 ? DISK.Inconsistent : (flags & MDF.WAS_UP_TO_DATE) === 0 ? DISK.Outdated : DISK.UpToDate;

const isFullSync = ({ md }: FoundMetaData): boolean =>
  (md.flags & MDF.FULL_SYNC) !== 0 || md.peers.some((peer) => (peer.flags & MDF_PEER.FULL_SYNC) !== 0);

type Coverage = (block: number) => boolean;
const NOTHING: ReadonlySet<number> = new Set();

/** Blocks that a node would have marked after its restart. */
function coverage(node: SimNode, found: FoundMetaData, hot: ReadonlySet<number>): Coverage {
  if (isFullSync(found)) return () => true;
  const { place } = found;
  const { disk } = node;
  return (block) => {
    if (hot.has(Math.floor(block / 1024))) return true;
    const byte = Math.floor(block / 8);
    return byte < place.bmSizeBytes && (disk.stableByte(place.bmOffsetBytes + byte) & (1 << (block % 8))) !== 0;
  };
}
