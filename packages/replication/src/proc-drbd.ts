/** The text of DRBD 8.4's `/proc/drbd` (drbd_proc.c), byte by byte, from snapshots. */
import type { ConnectionSnapshot, PeerDeviceSnapshot, ResourceSnapshot, ResyncSnapshot, VolumeSnapshot } from './snapshot.js';

/** Lines are for the state words of DRBD 8.4. */
const connectionWord = (connection: ConnectionSnapshot | undefined, peerDevice: PeerDeviceSnapshot | undefined): string => {
  if (connection === undefined) return 'StandAlone';
  if (connection.state === 'Connecting') return 'WFConnection';
  if (connection.state !== 'Connected') return connection.state;
  const replication = peerDevice?.replicationState ?? 'Off';
  return replication === 'Off' ? 'WFReportParams' : replication === 'Established' ? 'Connected' : replication;
};
/** DRBD 8.4 knows no Detaching. */
const diskWord = (state: string): string => (state === 'Detaching' ? 'Failed' : state);

const ORDERING_LETTER = { none: 'n', drain: 'd', flush: 'f' } as const;
const kibibytes = (sectors: number): number => Math.floor(sectors / 2);
const flag = (isSet: boolean, letter: string): string => (isSet ? letter : '-');

/**
 * @param header - everything in front of the first device, with its line breaks
 * @param resources - in any order; devices are listed by minor number
 */
export function formatProcDrbd(resources: readonly ResourceSnapshot[], header: string): string {
  const devices = resources.flatMap((resource) => resource.volumes.map((volume) => ({ resource, volume })));
  devices.sort((a, b) => a.volume.minor - b.volume.minor);
  let text = header;
  let previous = -1;
  for (const { resource, volume } of devices) {
    if (volume.minor !== previous + 1) text += '\n';
    previous = volume.minor;
    text += formatDevice(resource, volume);
  }
  return text;
}

function formatDevice(resource: ResourceSnapshot, volume: VolumeSnapshot): string {
  const connection = resource.connections[0];
  const peer = connection?.peerDevices.find((device) => device.volume === volume.volume);
  const conn = connectionWord(connection, peer);
  const minor = String(volume.minor).padStart(2);
  if (conn === 'StandAlone' && volume.diskState === 'Diskless' && resource.role === 'Secondary') return `${minor}: cs:Unconfigured\n`;
  // StandAlone has no network configuration any more.
  const protocol = connection === undefined || conn === 'StandAlone' ? ' ' : connection.protocol;
  const disks = `${diskWord(volume.diskState)}/${diskWord(peer?.peerDiskState ?? 'DUnknown')}`;
  const states = `cs:${conn} ro:${resource.role}/${connection?.peerRole ?? 'Unknown'} ds:${disks}`;
  // DRBD 8.4 has a counter for writes of the bitmap and never counts.
  let text = `${minor}: ${states} ${protocol} ${formatFlags(resource, volume, peer)}\n`;
  text +=
    `    ns:${kibibytes(peer?.sentSectors ?? 0)} nr:${kibibytes(peer?.receivedSectors ?? 0)}` +
    ` dw:${kibibytes(volume.writtenSectors)} dr:${kibibytes(volume.readSectors)} al:${volume.alWrites} bm:0` +
    ` lo:${volume.lowerPending} pe:${peer?.pending ?? 0} ua:${peer?.unacked ?? 0} ap:${volume.upperPending}` +
    ` ep:${connection?.epochs ?? 1} wo:${ORDERING_LETTER[resource.writeOrdering]} oos:${kibibytes(peer?.outOfSyncSectors ?? 0)}\n`;
  const isSync = conn === 'SyncSource' || conn === 'SyncTarget';
  const isVerify = conn === 'VerifyS' || conn === 'VerifyT';
  if (peer?.resync !== undefined && (isSync || isVerify)) text += formatProgress(peer.resync, conn);
  return text;
}

function formatFlags(resource: ResourceSnapshot, volume: VolumeSnapshot, peer: PeerDeviceSnapshot | undefined): string {
  const isSuspended = resource.suspendedUser || resource.suspendedNoData || resource.suspendedFencing || resource.suspendedQuorum;
  return (
    (isSuspended ? 's' : 'r') +
    flag(peer?.resyncSuspendedDependency ?? false, 'a') +
    flag(peer?.resyncSuspendedPeer ?? false, 'p') +
    flag(peer?.resyncSuspendedUser ?? false, 'u') +
    '-' +
    flag(volume.alSuspended, 's')
  );
}

/** Thousands are set off by commas up to the millions. */
function grouped(value: number): string {
  const digits = (part: number): string => String(part).padStart(3, '0');
  if (value < 1000) return String(value);
  if (value < 1_000_000) return `${Math.floor(value / 1000)},${digits(value % 1000)}`;
  return `${Math.floor(value / 1_000_000)},${digits(Math.floor(value / 1000) % 1000)},${digits(value % 1000)}`;
}

const seconds = (milliseconds: number): number => Math.max(0, Math.trunc(milliseconds / 1000));
const wholeSeconds = (milliseconds: number): number => Math.max(1, seconds(milliseconds));
const BITS_4_GIB = 1_048_576;
const STALLED_AFTER_SECONDS = 180;

/** Two lines: bar with amounts, time to go with speeds. All divisions cut off, in the order of the original. */
function formatProgress(resync: ResyncSnapshot, conn: string): string {
  const total = resync.totalBits;
  let left = resync.leftBits;
  let permille: number;
  if (left > total) {
    left = total;
    permille = total === 0 ? 1000 : 0;
  } else {
    // Fewer than 1024 bits left always show as 100 %.
    const step = total > 0xffff_ffff ? 2 ** 16 : 2 ** 10;
    permille = 1000 - Math.floor((Math.floor(left / step) * 1000) / (1 + Math.floor(total / step)));
  }
  const x = Math.floor(permille / 50);
  const bar = `${'='.repeat(Math.max(0, x - 1))}>${'.'.repeat(20 - x)}`;
  const percent = `${String(Math.floor(permille / 10)).padStart(3)}.${permille % 10}`;
  const amounts = total > BITS_4_GIB ? `(${Math.floor(left / 1024) * 4}/${Math.floor(total / 1024) * 4})M` : `(${left * 4}/${total * 4})K`;
  const word = conn.startsWith('Verify') ? 'verified:' : "sync'ed:";

  const mark = (resync.lastMark + 2) % resync.markTime.length;
  const sinceMark = resync.now - resync.markTime[mark]!;
  const isStalled = seconds(sinceMark) > STALLED_AFTER_SECONDS;
  const dt = wholeSeconds(sinceMark);
  const done = Math.max(0, resync.markLeft[mark]! - left);
  const rest = Math.floor((dt * Math.floor(left / (Math.floor(done / 100) + 1))) / 100);
  const two = (value: number): string => String(value).padStart(2, '0');
  const finish = `${Math.floor(rest / 3600)}:${two(Math.floor((rest % 3600) / 60))}:${two(rest % 60)}`;
  const speed = grouped(Math.floor(done / dt) * 4);
  const running = wholeSeconds(resync.now - resync.startedAt - resync.pausedMs);
  const average = grouped(Math.floor((total - left) / running) * 4);
  const want = conn === 'SyncTarget' || conn === 'VerifyS' ? ` want: ${grouped(resync.wantKiBps)}` : '';
  return (
    `\t[${bar}] ${word}${percent}% ${amounts}\n` +
    `\tfinish: ${finish} speed: ${speed} (${average})${want} K/sec${isStalled ? ' (stalled)' : ''}\n`
  );
}
