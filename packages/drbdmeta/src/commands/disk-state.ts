// dstate, outdate, invalidate: the flags that say how good the data is.

import { MDF } from '@udrbd/metadata';
import { demandFullSync } from '../full-sync.js';
import { Volume } from '../volume.js';
import { type Command, ignoreSurplus } from './command.js';

export const dstate: Command = {
  name: 'dstate',
  modifies: false,
  wantsNodeId: false,
  async run(context) {
    ignoreSurplus(context);
    const volume = await Volume.open(context);
    if (volume.found !== 'found') return volume.fail('No valid meta data found');
    const { flags } = volume.md;
    let word = 'Consistent';
    if ((flags & MDF.CONSISTENT) === 0) word = 'Inconsistent';
    else if ((flags & MDF.WAS_UP_TO_DATE) === 0) word = 'Outdated';
    else if ((flags & MDF.PEER_OUT_DATED) !== 0) word = 'UpToDate';
    context.io.stdout(`${word}\n`);
    return 0;
  },
};

export const outdate: Command = {
  name: 'outdate',
  modifies: true,
  wantsNodeId: false,
  async run(context) {
    ignoreSurplus(context);
    const volume = await Volume.open(context);
    if (volume.found !== 'found') return volume.fail();
    const { md } = volume;
    if (md.format === 'v07') return volume.fail('Can not outdate GC based meta data!\nDevice is inconsistent.', 5);
    if ((md.flags & MDF.CONSISTENT) === 0) return volume.fail('Device is inconsistent.', 5);
    md.flags &= ~MDF.WAS_UP_TO_DATE;
    return volume.writeSuperblock() ? 0 : volume.fail('update failed');
  },
};

export const invalidate: Command = {
  name: 'invalidate',
  modifies: true,
  wantsNodeId: false,
  async run(context) {
    ignoreSurplus(context);
    const volume = await Volume.open(context);
    if (volume.found !== 'found') return volume.fail();
    const { md } = volume;
    if (md.format === 'v07') {
      md.gc[0] &= ~MDF.CONSISTENT;
    } else {
      md.flags &= ~(MDF.CONSISTENT | MDF.WAS_UP_TO_DATE);
    }
    demandFullSync(md);
    return volume.writeSuperblock() ? 0 : volume.fail('update failed');
  },
};
