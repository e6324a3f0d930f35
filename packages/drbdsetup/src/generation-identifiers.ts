/** The lines of `get-gi` and `show-gi`. */
import type { DeviceSnapshot, PeerDeviceSnapshot } from '@udrbd/control';

/** Bits of the device's flags, then of the peer's, in the order of the columns. */
const DISK_FLAG_BITS = [0, 4, 1, 6, 7, 8, 9];
const PEER_FLAG_BITS = [0, 1, 2, 3, 4];

const bitsOf = (flags: number, bits: readonly number[]): number[] => bits.map((bit) => Math.floor(flags / 2 ** bit) % 2);

/** current:bitmap:history:history, then twelve flags. */
export function generationLine(device: DeviceSnapshot, peerDevice: PeerDeviceSnapshot): string {
  const none = '0'.repeat(16);
  const [younger = none, older = none] = device.statistics.historyUuids;
  const uuids = [device.statistics.currentUuid, peerDevice.statistics.bitmapUuid, younger, older];
  const flags = [...bitsOf(device.statistics.diskFlags, DISK_FLAG_BITS), ...bitsOf(peerDevice.statistics.flags, PEER_FLAG_BITS)];
  return `${uuids.join(':')}:${flags.join(':')}\n`;
}

const ABOVE = `
       +--<  Current data generation UUID  >-
       |               +--<  Bitmap's base data generation UUID  >-
       |               |                 +--<  younger history UUID  >-
       |               |                 |         +-<  older history  >-
       V               V                 V         V
`;

const FLAG_LABELS = [
  '-<  Data consistency flag  >--+',
  '-<  Data was/is currently up-to-date  >--+',
  '-<  Node was/is currently primary  >--+',
  '-<  This node was a crashed primary, and has not seen its peer since  >--+',
  '-<  The activity-log was applied, the disk can be attached  >--+',
  '-<  The activity-log was disabled, peer is completely out of sync  >--+',
  '-<  This node was primary when it lost quorum  >--+',
  '-<  Node was/is currently connected  >--+',
  "-<  The peer's disk was out-dated or inconsistent  >--+",
  '-<   A fence policy other the dont-care was used  >--+',
  '-<  Node was in the progress of marking all blocks as out of sync  >--+',
  '-<  At least once we saw this node with a backing device attached >--+',
];

/** Column of the first flag in the line. */
const FIRST_FLAG_COLUMN = 4 * 17;

/** The line with a picture around it that explains its columns. */
export function generationPicture(device: DeviceSnapshot, peerDevice: PeerDeviceSnapshot): string {
  const arrows = ' '.repeat(FIRST_FLAG_COLUMN) + FLAG_LABELS.map(() => '^').join(' ');
  const below = FLAG_LABELS.map(
    (label, index) => label.padStart(FIRST_FLAG_COLUMN + 2 * index + 1) + ' |'.repeat(FLAG_LABELS.length - 1 - index),
  );
  return `${ABOVE}${generationLine(device, peerDevice)}${[arrows, ...below].join('\n')}\n\n`;
}
