import { DEVICE_OPTIONS, defaultOptions, NET_OPTIONS, PEER_DEVICE_OPTIONS, type ResourceSnapshot } from '@udrbd/control';
import type { ResourceSnapshot as CoreSnapshot } from '@udrbd/replication';
import t from 'tap';
import { difference } from './notifications.js';
import { viewOf } from './snapshot-view.js';

const LOCAL = { family: 'ipv4', address: '192.0.2.1', port: 7788 } as const;
const REMOTE = { family: 'ipv4', address: '192.0.2.2', port: 7788 } as const;

const core = (change: Partial<CoreSnapshot> = {}): CoreSnapshot => ({
  name: 'r0',
  nodeId: 0,
  role: 'Secondary',
  suspendedUser: false,
  suspendedNoData: false,
  suspendedFencing: false,
  suspendedQuorum: false,
  failIo: false,
  writeOrdering: 'flush',
  options: {},
  volumes: [],
  connections: [],
  ...change,
});

const VOLUME: CoreSnapshot['volumes'][number] = {
  volume: 0,
  minor: 7,
  diskState: 'UpToDate',
  client: false,
  quorum: true,
  sizeSectors: 1000,
  backing: { backingDevice: '/dev/a', metaDevice: '/dev/a', metaIndex: 'internal' },
  diskOptions: { 'al-extents': 67 },
  deviceOptions: {},
  readSectors: 1,
  writtenSectors: 2,
  alWrites: 3,
  bmWrites: 4,
  upperPending: 5,
  lowerPending: 6,
  alSuspended: false,
  blocked: 'upper',
  currentUuid: 0xabcn,
  historyUuids: [1n, 2n],
  metaDataFlags: 17,
};
const CONNECTION: CoreSnapshot['connections'][number] = {
  connection: 0,
  peerNodeId: 1,
  state: 'Connected',
  peerRole: 'Primary',
  protocol: 'C',
  agreedProtocolVersion: 101,
  congested: false,
  apInFlightSectors: 0,
  rsInFlightSectors: 0,
  epochs: 1,
  options: { _name: 'beta' },
  peerDevices: [
    {
      volume: 0,
      replicationState: 'SyncTarget',
      peerDiskState: 'UpToDate',
      peerClient: false,
      resyncSuspendedUser: false,
      resyncSuspendedPeer: false,
      resyncSuspendedDependency: false,
      receivedSectors: 10,
      sentSectors: 11,
      pending: 12,
      unacked: 13,
      outOfSyncSectors: 800,
      bitmapUuid: 5n,
      peerDeviceFlags: 0,
      options: {},
      resync: {
        totalBits: 200,
        leftBits: 100,
        failedBits: 1,
        startedAt: 1000,
        pausedMs: 5,
        now: 21_000,
        markTime: [18_000, 0, 3000, 6000, 9000, 12_000, 14_000, 15_000],
        markLeft: [110, 0, 190, 170, 150, 140, 130, 120],
        lastMark: 0,
        wantKiBps: 250,
        sameChecksumSectors: 0,
        verify: undefined,
      },
    },
  ],
};

const view = (snapshot: CoreSnapshot, established = -1): ResourceSnapshot =>
  viewOf(
    { core: snapshot, openVolumes: [0], established: established < 0 ? [] : [{ connection: 0, path: established }] },
    { name: snapshot.name, drbd8Compat: false, pathsOf: () => [{ local: LOCAL, remote: REMOTE }], isOpen: () => false },
  );

t.test('a core snapshot in the terms of the control socket', async (t) => {
  const seen = view(core({ volumes: [VOLUME], connections: [CONNECTION] }), 0);
  t.match(seen.devices[0], {
    disk: { backingDev: '/dev/a', metaIndex: -3, options: { 'al-extents': 67, 'on-io-error': 'detach' } },
    state: { open: true, backingDev: '/dev/a' },
    statistics: { size: 1000, upperBlocked: true, currentUuid: '0000000000000ABC', historyUuids: ['0000000000000001', '0000000000000002'] },
  });
  t.strictSame(Object.keys(seen.devices[0]!.options), Object.keys(defaultOptions(DEVICE_OPTIONS)));
  t.strictSame(Object.keys(seen.connections[0]!.options), Object.keys(defaultOptions(NET_OPTIONS)));
  t.match(seen.connections[0], { name: 'beta', paths: [{ local: LOCAL, established: true }], state: { role: 'Primary' } });
  t.strictSame(seen.connections[0]!.peerDevices[0]!.options, defaultOptions(PEER_DEVICE_OPTIONS));
  t.match(seen.connections[0]!.peerDevices[0]!.statistics, {
    outOfSync: 800,
    rsTotal: 1600,
    resyncFailed: 8,
    rsDtStartMs: 20_000,
    rsDt0Ms: 18_000,
    rsDb0Sectors: 720,
    rsDt1Ms: 6000,
    rsDb1Sectors: 160,
    rsCSyncRate: 250,
  });
});

t.test('what changed, in DRBD order, as one batch', async (t) => {
  const words = (before: ResourceSnapshot | undefined, after: ResourceSnapshot | undefined) =>
    difference(before, after).map((n) => `${n.action} ${n.kind}${'continues' in n && n.continues === true ? ' +' : ''}`);
  const empty = view(core());
  const full = view(core({ volumes: [VOLUME], connections: [CONNECTION] }));
  t.strictSame(words(undefined, empty), ['create resource']);
  t.strictSame(words(empty, full), ['create connection +', 'create path +', 'create device +', 'create peer-device']);
  t.strictSame(words(full, full), []);
  t.strictSame(
    words(full, view(core({ volumes: [{ ...VOLUME, readSectors: 99 }], connections: [CONNECTION] }))),
    [],
    'counters are no event',
  );
  t.strictSame(words(full, view(core({ role: 'Primary', volumes: [VOLUME], connections: [CONNECTION] }), 0)), [
    'change resource +',
    'change path',
  ]);
  const alone = view(core({ volumes: [VOLUME] }));
  t.strictSame(words(full, alone), ['destroy peer-device +', 'destroy connection']);
  const noVolume = view(core({ connections: [{ ...CONNECTION, peerDevices: [] }] }));
  t.strictSame(words(full, noVolume), ['destroy peer-device +', 'destroy device']);
  t.strictSame(words(empty, undefined), ['destroy resource']);
  t.equal(
    difference(undefined, full, 'exists').every((n) => n.action === 'exists'),
    true,
  );
});
