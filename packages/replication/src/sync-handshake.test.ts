import { readFileSync } from 'node:fs';
import t from 'tap';
import type { Generations } from './generations.js';
import { sanitise } from './state-rules.js';
import { CONN, type ConnNumber, DISK, type DiskNumber, ROLE, STATE_VIEW_INITIAL, type StateView } from './state-view.js';
import { type SyncHandshakeInput, syncHandshake } from './sync-handshake.js';

const set = (text: string): Generations => {
  const [current, bitmap, h1, h2] = text.split(':').map((hex) => BigInt(`0x${hex}`)) as [bigint, bigint, bigint, bigint];
  return { current, bitmap, history: [h1, h2] };
};
const POLICIES = {
  afterSb0pri: 'disconnect',
  afterSb1pri: 'disconnect',
  afterSb2pri: 'disconnect',
  rrConflict: 'disconnect',
  alwaysAsbp: false,
};
const BASE: SyncHandshakeInput = {
  self: set('A0:0:B0:C0'),
  peer: set('A0:0:B0:C0'),
  role: ROLE.Secondary,
  peerRole: ROLE.Secondary,
  disk: DISK.UpToDate,
  diskAfterAttach: DISK.UpToDate,
  peerDisk: DISK.UpToDate,
  selfCrashedPrimary: false,
  peerCrashedPrimary: false,
  selfBits: 0,
  peerBits: 0,
  peerFlags: 0,
  discardMyData: false,
  peerDiscardMyData: false,
  tentative: false,
  resolveConflicts: false,
  apv: 101,
  features: 0xf,
  isPeerGenuine: true,
  policies: POLICIES,
};

const VECTOR = new URL('../../../conformance/vectors/kernel84/uuid-compare.json', import.meta.url);
interface Case {
  readonly self: string;
  readonly selfFlags: string;
  readonly peer: string;
  readonly peerFlags: string;
  readonly selfLog: readonly string[];
  readonly selfChange: string | null;
  readonly peerLog: readonly string[];
  readonly peerChange: string | null;
}
const diskOf = (flags: string): DiskNumber =>
  flags.startsWith('1:1') ? DISK.UpToDate : flags.startsWith('1:0') ? DISK.Outdated : DISK.Inconsistent;
const crashedOf = (flags: string): boolean => flags.split(':')[6] === '1';
const DISK_WORDS = Object.fromEntries(Object.entries(DISK).map(([word, number]) => [number, word]));
const CONN_WORDS = Object.fromEntries(Object.entries(CONN).map(([word, number]) => [number, word]));

t.test('the recorded kernel: log lines and state changes of both nodes', async (t) => {
  const { cases } = JSON.parse(readFileSync(VECTOR, 'utf8')) as { cases: Case[] };
  t.equal(cases.length, 32);
  for (const c of cases) {
    const sides = [
      { own: c.self, ownFlags: c.selfFlags, other: c.peer, otherFlags: c.peerFlags, logs: c.selfLog, change: c.selfChange, resolve: false },
      { own: c.peer, ownFlags: c.peerFlags, other: c.self, otherFlags: c.selfFlags, logs: c.peerLog, change: c.peerChange, resolve: true },
    ];
    for (const side of sides) {
      // A fresh pair is Inconsistent whatever its flags claim: so it went out over the wire.
      const [disk, peerDisk] = [diskOf(side.ownFlags), diskOf(side.otherFlags)].map((d, i) =>
        [side.own, side.other][i]!.startsWith('4:') ? DISK.Inconsistent : d,
      ) as [DiskNumber, DiskNumber];
      const outcome = syncHandshake({
        ...BASE,
        self: set(side.own),
        peer: set(side.other),
        disk,
        diskAfterAttach: disk,
        peerDisk,
        selfCrashedPrimary: crashedOf(side.ownFlags),
        peerCrashedPrimary: crashedOf(side.otherFlags),
        peerFlags: Number(/^peer .* flags:(\d)/.exec(side.logs.find((l) => l.startsWith('peer')) ?? '')?.[1] ?? 0),
        selfBits: 2038,
        peerBits: 2038,
        resolveConflicts: side.resolve,
      });
      const name = `${side.own} ${side.ownFlags} against ${side.other} ${side.otherFlags}`;
      const logs = outcome.logs.map((l) => l.text).filter((l) => l !== 'drbd_sync_handshake:' && !l.startsWith('No resync, but'));
      t.strictSame(
        logs,
        side.logs.filter((l) => !l.startsWith('No resync, but')),
        name,
      );
      if (side.change === null) t.equal(outcome.kind, 'abort', name);
      else t.equal(changeOf(disk, peerDisk, outcome.conn), side.change, name);
    }
  }
});

/** The state change that follows a handshake, as the kernel logs it. */
function changeOf(disk: DiskNumber, peerDisk: DiskNumber, conn: ConnNumber): string {
  const old: StateView = { ...STATE_VIEW_INITIAL, conn: CONN.WFReportParams, disk };
  const ctx = { fencing: 'dont-care', onNoData: 'io-error', negotiated: undefined, lacksBlocks: false } as const;
  const { state } = sanitise(old, { ...old, conn, peerRole: ROLE.Secondary, peerDisk }, ctx);
  let text = `peer( Unknown -> Secondary ) conn( WFReportParams -> ${CONN_WORDS[state.conn]} )`;
  if (state.disk !== disk) text += ` disk( ${DISK_WORDS[disk]} -> ${DISK_WORDS[state.disk]} )`;
  return `${text} pdsk( DUnknown -> ${DISK_WORDS[state.peerDisk]} )`;
}

// Both wrote since generation A0; bit 0 of the bitmap UUID tells who was Primary then.
const BRAIN = { ...BASE, self: set('D1:A1:B0:C0'), peer: set('E1:A0:B0:C0'), selfBits: 5, peerBits: 9 };
const verdictOf = (input: SyncHandshakeInput): string => {
  const outcome = syncHandshake(input);
  return outcome.kind === 'abort'
    ? 'abort'
    : outcome.conn === CONN.WFBitMapS
      ? 'source'
      : outcome.conn === CONN.WFBitMapT
        ? 'target'
        : 'none';
};
const mirrored = (input: SyncHandshakeInput): SyncHandshakeInput => ({
  ...input,
  self: input.peer,
  peer: input.self,
  role: input.peerRole,
  peerRole: input.role,
  disk: input.peerDisk,
  diskAfterAttach: input.peerDisk,
  peerDisk: input.disk,
  selfCrashedPrimary: input.peerCrashedPrimary,
  peerCrashedPrimary: input.selfCrashedPrimary,
  selfBits: input.peerBits,
  peerBits: input.selfBits,
  discardMyData: input.peerDiscardMyData,
  peerDiscardMyData: input.discardMyData,
  resolveConflicts: !input.resolveConflicts,
  policies: {
    ...input.policies,
    afterSb0pri:
      { 'discard-local': 'discard-remote', 'discard-remote': 'discard-local' }[input.policies.afterSb0pri] ?? input.policies.afterSb0pri,
  },
});

t.test('split brain without a policy runs both handlers and drops the connection', async (t) => {
  const outcome = syncHandshake(BRAIN);
  t.equal(outcome.kind, 'abort');
  t.strictSame(outcome.handlers, ['initial-split-brain', 'split-brain']);
});

t.test('after-sb-0pri', async (t) => {
  const by = (afterSb0pri: string, more: Partial<SyncHandshakeInput> = {}): string =>
    verdictOf({ ...BRAIN, ...more, policies: { ...POLICIES, afterSb0pri } });
  t.equal(by('discard-younger-primary'), 'source');
  t.equal(by('discard-older-primary'), 'target');
  t.equal(by('discard-zero-changes'), 'abort');
  t.equal(by('discard-zero-changes', { selfBits: 0 }), 'target');
  t.equal(by('discard-zero-changes', { peerBits: 0 }), 'source');
  t.equal(by('discard-zero-changes', { selfBits: 0, peerBits: 0 }), 'source', 'a tie goes against the resolver');
  t.equal(by('discard-least-changes'), 'target');
  t.equal(by('discard-least-changes', { selfBits: 20 }), 'source');
  t.equal(by('discard-least-changes', { selfBits: 9, resolveConflicts: true }), 'target');
  t.equal(by('discard-local'), 'target');
  t.equal(by('discard-remote'), 'source');
  t.equal(by('discard-younger-primary', { self: set('D1:A0:B0:C0') }), 'target', 'no decision: least changes');
});

t.test('after-sb-1pri and -2pri', async (t) => {
  const primary = { role: ROLE.Primary, peerRole: ROLE.Secondary } as const;
  const secondary = { role: ROLE.Secondary, peerRole: ROLE.Primary } as const;
  const by = (roles: Partial<SyncHandshakeInput>, afterSb1pri: string, afterSb0pri = 'discard-local', rrConflict = 'disconnect') =>
    syncHandshake({ ...BRAIN, ...roles, policies: { ...POLICIES, afterSb0pri, afterSb1pri, rrConflict } });
  t.equal(by(primary, 'discard-secondary').conn, CONN.WFBitMapS);
  t.equal(by(secondary, 'discard-secondary').conn, CONN.WFBitMapT);
  t.equal(by(primary, 'consensus').kind, 'abort', 'the loser would be Primary');
  t.equal(by(primary, 'consensus', 'discard-remote').conn, CONN.WFBitMapS);
  t.equal(by(primary, 'violently-as0p').kind, 'abort', 'a Primary still falls under rr-conflict');
  t.equal(by(primary, 'violently-as0p', 'discard-local', 'violently').conn, CONN.WFBitMapT);
  t.strictSame(by(primary, 'call-pri-lost-after-sb').handlers, ['initial-split-brain', 'pri-lost-after-sb', 'split-brain']);
  const both = { role: ROLE.Primary, peerRole: ROLE.Primary } as const;
  t.equal(
    verdictOf({ ...BRAIN, ...both, policies: { ...POLICIES, afterSb0pri: 'discard-remote', afterSb2pri: 'violently-as0p' } }),
    'source',
  );
  t.equal(verdictOf({ ...BRAIN, ...both, policies: { ...POLICIES, afterSb0pri: 'discard-remote' } }), 'abort');
});

t.test('always-asbp solves split brain without a common bitmap, by a full sync', async (t) => {
  const ancient = { ...BASE, self: set('A0:0:C0:F0'), peer: set('D0:0:C0:F2') };
  t.equal(verdictOf({ ...ancient, policies: { ...POLICIES, afterSb0pri: 'discard-local' } }), 'abort');
  const solved = syncHandshake({ ...ancient, policies: { ...POLICIES, afterSb0pri: 'discard-local', alwaysAsbp: true } });
  t.match(solved, { kind: 'sync', conn: CONN.WFBitMapT, setAllBits: true });
});

t.test('discard-my-data on one side decides, on both sides does not', async (t) => {
  t.equal(verdictOf({ ...BRAIN, discardMyData: true }), 'target');
  t.equal(verdictOf({ ...BRAIN, peerDiscardMyData: true }), 'source');
  t.equal(verdictOf({ ...BRAIN, discardMyData: true, peerDiscardMyData: true }), 'abort');
});

t.test('rr-conflict: a Primary that would have to take other data', async (t) => {
  const primary = { role: ROLE.Primary, selfBits: 3, peerBits: 4 } as const;
  const crashed = { ...primary, peerCrashedPrimary: true };
  const asb = { ...POLICIES, afterSb0pri: 'discard-local', afterSb1pri: 'violently-as0p', afterSb2pri: 'violently-as0p' };
  const bothPrimary = { ...primary, peerRole: ROLE.Primary };
  const conflicts: Record<string, Partial<SyncHandshakeInput>> = {
    'the peer went on from our generation (rule 50)': { ...primary, peer: set('D1:A0:B0:C0') },
    'we are far behind (rule 60)': { ...primary, peer: set('D1:E0:A0:B0') },
    'the resync begun towards us was not told (rule 51)': { ...primary, peer: set('D1:10000000000A0:A0:B0') },
    'both Primary, the peer went on': { ...bothPrimary, peer: set('D1:A0:B0:C0') },
    'a crashed Primary that had begun a generation (rule 50)': { ...crashed, peer: set('D1:A0:B0:C0') },
    'a split brain solved against us': { ...primary, self: BRAIN.self, peer: BRAIN.peer, policies: asb },
    'of two Primaries': { ...bothPrimary, self: BRAIN.self, peer: BRAIN.peer, policies: asb },
  };
  const reaction: Record<string, [verdict: string, handler: boolean, isRoleConflict: boolean]> = {
    disconnect: ['abort', false, true],
    'call-pri-lost': ['abort', true, true],
    violently: ['target', false, false],
    'retry-connect': ['abort', false, true],
    'auto-discard': ['abort', false, true],
  };
  for (const [rrConflict, [verdict, isCalled, isRoleConflict]] of Object.entries(reaction)) {
    const policies = { ...POLICIES, rrConflict };
    for (const [what, more] of Object.entries(conflicts)) {
      const input = { ...BASE, ...more, policies: { ...(more.policies ?? POLICIES), rrConflict } };
      const outcome = syncHandshake(input);
      const name = `${rrConflict}: ${what}`;
      t.equal(verdictOf(input), verdict, name);
      t.equal(outcome.handlers.includes('pri-lost'), isCalled, name);
      t.equal(outcome.isRoleConflict, isRoleConflict, name);
      const said = verdict === 'abort' ? 'I shall become SyncTarget, but I am primary!' : 'violating the stable-data';
      t.ok(
        outcome.logs.some(({ text }) => text.includes(said)),
        name,
      );
    }
    // What auto-discard is for is so under every policy, and under every protocol.
    const survivor: SyncHandshakeInput = { ...BASE, ...crashed, policies };
    t.match(syncHandshake(survivor), { kind: 'sync', verdict: { rule: 41 }, handlers: [] });
    t.equal(verdictOf(survivor), 'source', `${rrConflict}: opposite a Primary that crashed before it`);
    t.equal(verdictOf(mirrored(survivor)), 'target');
    t.equal(verdictOf({ ...survivor, self: set('D1:A0:B0:C0') }), 'source', `${rrConflict}: promoted since then`);
    t.equal(verdictOf({ ...BASE, peer: set('D1:A0:B0:C0'), policies }), 'target', `${rrConflict}: a Secondary has no conflict`);
    const inconsistent = { ...BASE, ...primary, disk: DISK.Inconsistent, diskAfterAttach: DISK.Inconsistent, policies };
    t.equal(verdictOf({ ...inconsistent, peer: set('D1:A0:B0:C0') }), 'target', `${rrConflict}: a disk that nothing is served from`);
  }
});

t.test('rr-conflict, tentative, inconsistent source', async (t) => {
  const loser = { ...BASE, self: set('A0:0:B0:C0'), peer: set('D1:A0:B0:C0'), role: ROLE.Primary };
  t.equal(verdictOf(loser), 'abort');
  t.strictSame(syncHandshake({ ...loser, policies: { ...POLICIES, rrConflict: 'call-pri-lost' } }).handlers, ['pri-lost']);
  t.equal(verdictOf({ ...loser, policies: { ...POLICIES, rrConflict: 'violently' } }), 'target');
  t.equal(verdictOf({ ...loser, role: ROLE.Secondary, tentative: true }), 'abort');
  t.equal(verdictOf({ ...BASE, self: set('D1:A0:B0:C0'), disk: DISK.Inconsistent, peerDisk: DISK.Inconsistent }), 'abort');
});

t.test('both nodes pick roles that fit, whatever the policies', async (t) => {
  const sets = ['A0:0:B0:C0', 'A1:0:B0:C0', 'D1:A0:B0:C0', 'E1:A0:B0:C0', 'E1:A1:B0:C0', '4:0:0:0', 'D0:0:C0:F2'].map(set);
  const policies0 = [
    'disconnect',
    'discard-younger-primary',
    'discard-older-primary',
    'discard-zero-changes',
    'discard-least-changes',
    'discard-local',
    'discard-remote',
  ];
  const disks = [DISK.Inconsistent, DISK.UpToDate] as const;
  const fits: Record<string, string> = { source: 'target', target: 'source', none: 'none', abort: 'abort' };
  let count = 0;
  for (const self of sets)
    for (const peer of sets)
      for (const afterSb0pri of policies0)
        for (const disk of disks)
          for (const peerDisk of disks)
            for (const [selfBits, peerBits] of [
              [0, 0],
              [0, 3],
              [3, 3],
              [7, 3],
            ] as const)
              for (const crashed of [false, true])
                for (const alwaysAsbp of [false, true]) {
                  const input = {
                    ...BASE,
                    self,
                    peer,
                    disk,
                    diskAfterAttach: disk,
                    peerDisk,
                    selfBits,
                    peerBits,
                    selfCrashedPrimary: crashed,
                    policies: { ...POLICIES, afterSb0pri, alwaysAsbp },
                  };
                  const here = syncHandshake(input);
                  const there = syncHandshake(mirrored(input));
                  count++;
                  // One side may drop the connection alone: an inconsistent one that should be source, the other cannot know.
                  const inconsistentSource = [...here.logs, ...there.logs].some((l) => l.text.startsWith('I shall become SyncSource'));
                  if (inconsistentSource) continue;
                  if (fits[verdictOf(input)] !== verdictOf(mirrored(input)) || here.setAllBits !== there.setAllBits) {
                    t.strictSame(here, there, 'the two sides disagree');
                    return;
                  }
                }
  t.ok(count > 10_000);
});

t.test('of one generation, but left behind with marked blocks: they are copied; a DRBD 8.4 would not', (t) => {
  const [behind, good] = [
    { ...BASE, isPeerGenuine: false, disk: DISK.Outdated, selfBits: 5, peerBits: 3, peerDisk: DISK.Consistent },
    { ...BASE, isPeerGenuine: false, disk: DISK.Negotiating, selfBits: 3, peerBits: 5, peerDisk: DISK.Outdated },
  ] as const;
  t.equal(syncHandshake(behind).conn, CONN.WFBitMapT);
  t.equal(syncHandshake(good).conn, CONN.WFBitMapS);
  for (const input of [behind, good]) {
    t.equal(syncHandshake(input).setAllBits, false);
    t.equal(syncHandshake({ ...input, isPeerGenuine: true }).conn, CONN.Connected);
    t.equal(syncHandshake({ ...input, selfBits: 0, peerBits: 0 }).conn, CONN.Connected);
  }
  t.end();
});

t.test('a resync out of a split brain that had begun goes on, while the loser is what it became when it gave in', async (t) => {
  const sets = { self: set('D1:10000000000A1:A1:B0'), peer: set('E1:A1:B0:C0') };
  const source: SyncHandshakeInput = { ...BASE, ...sets, isPeerGenuine: false, peerDisk: DISK.Outdated, selfBits: 7, peerBits: 7 };
  const parted = { ...source, self: set('F1:10000000000A1:D1:A1') };
  const rows: readonly [what: string, SyncHandshakeInput, verdict: string][] = [
    ['as it was', source, 'source'],
    ['a loser that is Inconsistent', { ...source, peerDisk: DISK.Inconsistent }, 'source'],
    ['a source that went its own way', parted, 'source'],
    ['the loser is given up again', { ...source, peerDiscardMyData: true }, 'source'],
    ['now the source is given up', { ...source, discardMyData: true }, 'target'],
    ['both are given up', { ...source, discardMyData: true, peerDiscardMyData: true }, 'abort'],
    ['the loser was made good by force', { ...source, peerDisk: DISK.UpToDate }, 'abort'],
    ['the source is outdated as well', { ...source, disk: DISK.Outdated }, 'abort'],
    ['the peer is a kernel', { ...source, isPeerGenuine: true }, 'abort'],
    ['the peer is a kernel, and an Inconsistent disk', { ...source, isPeerGenuine: true, peerDisk: DISK.Inconsistent }, 'source'],
  ];
  const fits: Record<string, string> = { source: 'target', target: 'source', abort: 'abort' };
  for (const [what, input, verdict] of rows) {
    t.equal(verdictOf(input), verdict, what);
    t.equal(verdictOf(mirrored(input)), fits[verdict], `${what}: the other side`);
  }
  // The peer is told no more of a disk that is being attached than whether it is Inconsistent.
  for (const [after, told, verdict] of [
    [DISK.Outdated, DISK.Consistent, 'abort'],
    [DISK.Inconsistent, DISK.Inconsistent, 'target'],
  ] as const) {
    t.equal(verdictOf({ ...mirrored(source), disk: DISK.Negotiating, diskAfterAttach: after }), verdict);
    t.equal(verdictOf({ ...source, peerDisk: told }), fits[verdict]);
  }
  t.equal(syncHandshake(source).setAllBits, false);
  t.strictSame(syncHandshake(source).handlers, [], 'not another split brain');
  t.equal(verdictOf({ ...parted, isPeerGenuine: true }), 'abort');
  t.match(syncHandshake({ ...parted, isPeerGenuine: true }).logs.at(-1), { text: 'Unrelated data, aborting!' });
});

t.test('changes are not counted on a disk that is Outdated, unless the peer is a kernel', async (t) => {
  const outdated: SyncHandshakeInput = { ...BRAIN, isPeerGenuine: false, disk: DISK.Outdated, selfBits: 9, peerBits: 3 };
  for (const [afterSb0pri, byCount] of [
    ['discard-least-changes', 'source'],
    ['discard-zero-changes', 'abort'],
  ] as const) {
    const input = { ...outdated, policies: { ...POLICIES, afterSb0pri } };
    t.equal(verdictOf(input), 'target');
    t.equal(verdictOf(mirrored(input)), 'source');
    for (const counted of [
      { ...input, isPeerGenuine: true },
      { ...input, peerDisk: DISK.Outdated },
      { ...input, disk: DISK.Negotiating },
    ])
      t.equal(verdictOf(counted), byCount);
  }
});
