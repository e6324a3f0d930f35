import t from 'tap';
import { formatProcDrbd } from './proc-drbd.js';
import type { ConnectionSnapshot, PeerDeviceSnapshot, ResourceSnapshot, ResyncSnapshot, VolumeSnapshot } from './snapshot.js';

const VOLUME: VolumeSnapshot = {
  volume: 0,
  minor: 0,
  diskState: 'UpToDate',
  client: false,
  quorum: true,
  sizeSectors: 524_200,
  backing: undefined,
  diskOptions: {},
  deviceOptions: {},
  readSectors: 1496,
  writtenSectors: 0,
  alWrites: 8,
  bmWrites: 0,
  upperPending: 0,
  lowerPending: 0,
  alSuspended: false,
  blocked: 'no',
  currentUuid: 0n,
  historyUuids: [],
  metaDataFlags: 0,
};
const PEER: PeerDeviceSnapshot = {
  volume: 0,
  replicationState: 'Established',
  peerDiskState: 'UpToDate',
  peerClient: false,
  resyncSuspendedUser: false,
  resyncSuspendedPeer: false,
  resyncSuspendedDependency: false,
  receivedSectors: 0,
  sentSectors: 1496,
  pending: 0,
  unacked: 0,
  outOfSyncSectors: 0,
  bitmapUuid: 0n,
  peerDeviceFlags: 0,
  options: {},
  resync: undefined,
};
const CONNECTION: ConnectionSnapshot = {
  connection: 0,
  peerNodeId: 1,
  state: 'Connected',
  peerRole: 'Secondary',
  protocol: 'C',
  agreedProtocolVersion: 101,
  congested: false,
  apInFlightSectors: 0,
  rsInFlightSectors: 0,
  epochs: 1,
  options: {},
  peerDevices: [PEER],
};
const RESOURCE: ResourceSnapshot = {
  name: 'a',
  nodeId: 0,
  role: 'Primary',
  suspendedUser: false,
  suspendedNoData: false,
  suspendedFencing: false,
  suspendedQuorum: false,
  failIo: false,
  writeOrdering: 'flush',
  options: {},
  volumes: [VOLUME],
  connections: [CONNECTION],
};
const build = (
  volume: Partial<VolumeSnapshot>,
  peer: Partial<PeerDeviceSnapshot>,
  connection: Partial<ConnectionSnapshot> = {},
  resource: Partial<ResourceSnapshot> = {},
): ResourceSnapshot => ({
  ...RESOURCE,
  volumes: [{ ...VOLUME, ...volume }],
  connections: [{ ...CONNECTION, peerDevices: [{ ...PEER, ...peer }], ...connection }],
  ...resource,
});
const resync = (total: number, left: number, dt: number, mark: number, elapsed: number, want = 0): ResyncSnapshot => ({
  totalBits: total,
  leftBits: left,
  failedBits: 0,
  startedAt: 1_000_000 - elapsed * 1000,
  pausedMs: 0,
  now: 1_000_000,
  markTime: new Array<number>(8).fill(1_000_000 - dt * 1000),
  markLeft: new Array<number>(8).fill(mark),
  lastMark: 3,
  wantKiBps: want,
  sameChecksumSectors: 0,
  verify: undefined,
});
const HEADER = 'version: 8.4.11 (api:1/proto:86-101)\nsrcversion: 637677C4EAFCF5D1D5446B0 \n';
const body = (resources: ResourceSnapshot[]): string => formatProcDrbd(resources, HEADER).slice(HEADER.length);

t.test('unconfigured devices and gaps between minors, as recorded', async (t) => {
  const bare = (minor: number): ResourceSnapshot => ({
    ...RESOURCE,
    role: 'Secondary',
    connections: [],
    volumes: [{ ...VOLUME, minor, diskState: 'Diskless' }],
  });
  t.equal(formatProcDrbd([], HEADER), HEADER);
  t.equal(body([bare(6), bare(3), bare(5)]), '\n 3: cs:Unconfigured\n\n 5: cs:Unconfigured\n 6: cs:Unconfigured\n');
});

t.test('forms of a device, as recorded', async (t) => {
  const standAlone = build(
    { diskState: 'Inconsistent', alSuspended: true, readSectors: 0 },
    { replicationState: 'Off', peerDiskState: 'DUnknown', outOfSyncSectors: 130_992, sentSectors: 0 },
    { state: 'StandAlone', peerRole: 'Unknown' },
    { role: 'Secondary' },
  );
  const counters = '    ns:0 nr:0 dw:0 dr:0 al:8 bm:0 lo:0 pe:0 ua:0 ap:0 ep:1 wo:f oos:65496\n';
  t.equal(body([standAlone]), ` 0: cs:StandAlone ro:Secondary/Unknown ds:Inconsistent/DUnknown   r----s\n${counters}`);
  const waiting = { ...standAlone, connections: [{ ...standAlone.connections[0]!, state: 'Connecting' as const, protocol: 'A' }] };
  t.equal(body([waiting]), ` 0: cs:WFConnection ro:Secondary/Unknown ds:Inconsistent/DUnknown A r----s\n${counters}`);
  const paused = build(
    { minor: 0 },
    {
      replicationState: 'PausedSyncS',
      peerDiskState: 'Inconsistent',
      resyncSuspendedUser: true,
      resyncSuspendedPeer: true,
      resync: resync(1, 1, 1, 1, 1),
    },
  );
  t.match(body([paused]), / 0: cs:PausedSyncS ro:Primary\/Secondary ds:UpToDate\/Inconsistent C r-pu--\n/);
  t.equal(body([paused]).split('\n').length, 3, 'no progress while paused');
  t.match(body([build({}, {}, {}, { suspendedNoData: true })]), / C s-----\n/);
});

t.test('a resync, as recorded on both nodes', async (t) => {
  const progress = resync(65_525, 65_338, 1, 65_525, 1, 1040);
  const syncing = { peerDiskState: 'Inconsistent', outOfSyncSectors: 522_704, resync: progress } as const;
  const source = build({}, { ...syncing, replicationState: 'SyncSource' });
  const target = build(
    { minor: 1, diskState: 'Inconsistent', readSectors: 0, writtenSectors: 1496 },
    { ...syncing, replicationState: 'SyncTarget', peerDiskState: 'UpToDate', sentSectors: 0, receivedSectors: 1496 },
    { peerRole: 'Primary' },
    { role: 'Secondary' },
  );
  t.equal(
    body([source, target]),
    ' 0: cs:SyncSource ro:Primary/Secondary ds:UpToDate/Inconsistent C r-----\n' +
      '    ns:748 nr:0 dw:0 dr:748 al:8 bm:0 lo:0 pe:0 ua:0 ap:0 ep:1 wo:f oos:261352\n' +
      "\t[>....................] sync'ed:  1.6% (261352/262100)K\n" +
      '\tfinish: 0:05:26 speed: 748 (748) K/sec\n' +
      ' 1: cs:SyncTarget ro:Secondary/Primary ds:Inconsistent/UpToDate C r-----\n' +
      '    ns:0 nr:748 dw:748 dr:0 al:8 bm:0 lo:0 pe:0 ua:0 ap:0 ep:1 wo:f oos:261352\n' +
      "\t[>....................] sync'ed:  1.6% (261352/262100)K\n" +
      '\tfinish: 0:05:26 speed: 748 (748) want: 1,040 K/sec\n',
  );
});

t.test('several volumes: by minor, each with its own state', async (t) => {
  const volume = (number: number, minor: number, rest: Partial<VolumeSnapshot> = {}): VolumeSnapshot => ({
    ...VOLUME,
    volume: number,
    minor,
    ...rest,
  });
  const peer = (number: number, rest: Partial<PeerDeviceSnapshot>): PeerDeviceSnapshot => ({ ...PEER, volume: number, ...rest });
  const many: ResourceSnapshot = {
    ...RESOURCE,
    writeOrdering: 'drain',
    volumes: [
      volume(2, 10, { bmWrites: 7, lowerPending: 3, upperPending: 4 }),
      volume(0, 1, { diskState: 'Detaching' }),
      volume(1, 2),
      volume(3, 4, { diskState: 'Diskless' }),
    ],
    connections: [
      {
        ...CONNECTION,
        protocol: 'A',
        epochs: 5,
        peerDevices: [
          peer(0, { replicationState: 'Ahead', peerDiskState: 'Consistent', outOfSyncSectors: 4097, resync: resync(10, 5, 1, 10, 1) }),
          peer(1, { replicationState: 'VerifyS', sentSectors: 9, resync: resync(262_144, 131_072, 18, 212_992, 30, 10_240) }),
          peer(2, {
            replicationState: 'PausedSyncT',
            resyncSuspendedDependency: true,
            resync: resync(10, 5, 1, 10, 1),
            pending: 1,
            unacked: 2,
          }),
          peer(3, { replicationState: 'Established' }),
        ],
      },
    ],
  };
  const behind = build(
    { minor: 3, diskState: 'Inconsistent' },
    { replicationState: 'Behind' },
    { peerRole: 'Primary', protocol: 'A' },
    { role: 'Secondary' },
  );
  t.equal(
    body([many, behind]),
    '\n 1: cs:Ahead ro:Primary/Secondary ds:Failed/Consistent A r-----\n' +
      '    ns:748 nr:0 dw:0 dr:748 al:8 bm:0 lo:0 pe:0 ua:0 ap:0 ep:5 wo:d oos:2048\n' +
      ' 2: cs:VerifyS ro:Primary/Secondary ds:UpToDate/UpToDate A r-----\n' +
      '    ns:4 nr:0 dw:0 dr:748 al:8 bm:0 lo:0 pe:0 ua:0 ap:0 ep:5 wo:d oos:0\n' +
      '\t[=========>..........] verified: 50.2% (524288/1048576)K\n' +
      '\tfinish: 0:00:28 speed: 18,204 (17,476) want: 10,240 K/sec\n' +
      ' 3: cs:Behind ro:Secondary/Primary ds:Inconsistent/UpToDate A r-----\n' +
      '    ns:748 nr:0 dw:0 dr:748 al:8 bm:0 lo:0 pe:0 ua:0 ap:0 ep:1 wo:f oos:0\n' +
      ' 4: cs:Connected ro:Primary/Secondary ds:Diskless/UpToDate A r-----\n' +
      '    ns:748 nr:0 dw:0 dr:748 al:8 bm:0 lo:0 pe:0 ua:0 ap:0 ep:5 wo:d oos:0\n' +
      '\n10: cs:PausedSyncT ro:Primary/Secondary ds:UpToDate/UpToDate A ra----\n' +
      '    ns:748 nr:0 dw:0 dr:748 al:8 bm:0 lo:3 pe:1 ua:2 ap:4 ep:5 wo:d oos:0\n',
  );
  const target = build({}, { replicationState: 'VerifyT', resync: resync(262_144, 131_072, 18, 212_992, 30, 10_240) });
  t.match(body([target]), /verified: 50\.2% .*\n\tfinish: 0:00:28 speed: 18,204 \(17,476\) K\/sec\n$/, 'only the asking side wants a rate');
  const suspended = build({ alSuspended: true }, { resyncSuspendedUser: true }, {}, { suspendedUser: true });
  t.match(body([suspended]), / C s--u-s\n/);
});

t.test('computed progress lines', async (t) => {
  const lines = (word: 'SyncSource' | 'SyncTarget', r: ResyncSnapshot): string =>
    body([build({}, { replicationState: word, resync: r })])
      .split('\n')
      .slice(2)
      .join('\n');
  const vectors: readonly [ResyncSnapshot, 'SyncSource' | 'SyncTarget', string][] = [
    [
      resync(262_144, 262_144, 0, 262_144, 0, 250),
      'SyncTarget',
      "\t[>....................] sync'ed:  0.4% (1048576/1048576)K\n\tfinish: 0:43:41 speed: 0 (0) want: 250 K/sec\n",
    ],
    [
      resync(262_144, 131_072, 18, 212_992, 30, 10_240),
      'SyncTarget',
      "\t[=========>..........] sync'ed: 50.2% (524288/1048576)K\n\tfinish: 0:00:28 speed: 18,204 (17,476) want: 10,240 K/sec\n",
    ],
    [
      resync(262_144, 1, 18, 40_960, 60),
      'SyncSource',
      "\t[===================>] sync'ed:100.0% (4/1048576)K\n\tfinish: 0:00:00 speed: 9,100 (17,476) K/sec\n",
    ],
    [
      resync(2_621_440, 1_310_720, 18, 1_769_472, 52, 102_400),
      'SyncTarget',
      "\t[=========>..........] sync'ed: 50.1% (5120/10240)M\n\tfinish: 0:00:51 speed: 101,944 (100,824) want: 102,400 K/sec\n",
    ],
    [
      resync(262_144, 262_000, 200, 262_000, 400, 40),
      'SyncTarget',
      "\t[>....................] sync'ed:  0.8% (1048000/1048576)K\n\tfinish: 145:33:20 speed: 0 (0) want: 40 K/sec (stalled)\n",
    ],
    [
      resync(100, 60, 3, 100, 3),
      'SyncSource',
      "\t[===================>] sync'ed:100.0% (240/400)K\n\tfinish: 0:00:01 speed: 52 (52) K/sec\n",
    ],
  ];
  for (const [r, word, expected] of vectors) t.equal(lines(word, r), expected);
  t.match(lines('SyncSource', resync(0, 0, 1, 0, 1)), /100\.0% \(0\/0\)K/);
});
