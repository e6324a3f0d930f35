import { SUPERBLOCK_BYTES } from '@udrbd/metadata';
import { Volume } from '../volume.js';
import { type Command, ignoreSurplus } from './command.js';

/** Zeroes the super block; activity log and bitmap mean nothing without it. */
export const wipeMd: Command = {
  name: 'wipe-md',
  modifies: true,
  wantsNodeId: false,
  async run(context) {
    ignoreSurplus(context);
    const volume = await Volume.open(context);
    if (volume.found !== 'found') return volume.fail('There appears to be no drbd meta data to wipe out?', 0);
    if (!(await volume.ask('Do you really want to wipe out the DRBD meta data?'))) {
      context.io.stdout('Operation cancelled.\n');
      return volume.fail('', 1);
    }
    context.io.stdout('Wiping meta data...\n');
    volume.device.write('meta_wipe_md', new Uint8Array(SUPERBLOCK_BYTES), volume.superblockOffset, volume.writableRange);
    volume.device.barrier();
    context.io.stdout('DRBD meta data block successfully wiped out.\n');
    volume.lastKnown.remove();
    return 0;
  },
};
