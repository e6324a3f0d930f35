import { MDF, MDF_PEER, type MetaData } from '@udrbd/metadata';

/** Says in the super block that everything is out of sync, whatever the bitmap says. */
export function demandFullSync(md: MetaData): void {
  if (md.format === 'v07') md.gc[0] |= MDF.FULL_SYNC;
  else if (md.format === 'v08') md.flags |= MDF.FULL_SYNC;
  else for (const peer of md.peers) peer.flags |= MDF_PEER.FULL_SYNC;
}
