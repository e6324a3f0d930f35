/** The order of refusals at attach, on image files. */
import { closeSync, openSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { META_INDEX_FLEXIBLE, META_INDEX_INTERNAL } from '@udrbd/control';
import {
  createMetaData,
  encodeSuperblock,
  initializedActivityLog,
  MDF,
  type MetaData,
  type MetaDataKind,
  place,
  placement,
} from '@udrbd/metadata';
import t from 'tap';
import { closeDisk, openDisk } from './open-disk.js';

const MIB = 1 << 20;

function image(path: string, bytes: number, kind: MetaDataKind | undefined, change: (md: MetaData) => void = () => undefined): string {
  writeFileSync(path, '');
  truncateSync(path, bytes);
  if (kind === undefined) return path;
  const p = placement({ kind, deviceBytes: bytes });
  const md = createMetaData('v09');
  place(md, p);
  change(md);
  const fd = openSync(path, 'r+');
  writeSync(fd, initializedActivityLog(md.al_stripes, md.al_stripe_size_4k), 0, undefined, p.alOffsetBytes);
  writeSync(fd, encodeSuperblock(md), 0, undefined, p.superblockOffsetBytes);
  closeSync(fd);
  return path;
}

t.test('attach', async (t) => {
  const dir = t.testdir();
  const good = image(`${dir}/good`, 8 * MIB, 'internal');
  const attempt = async (backingDev: string, metaDev = backingDev, metaIndex: number = META_INDEX_INTERNAL, size = 0, nodeId = 0) => {
    const opened = await openDisk({ backingDev, metaDev, metaIndex, options: { size }, nodeId, drbd8Compat: false });
    if (!opened.ok) return [opened.error.name, ...(opened.error.info ?? [])].join(': ');
    await closeDisk(opened.value.handles);
    return opened.value.backing;
  };
  const backing = await attempt(good);
  t.match(backing, { backingSectors: (8 * MIB) / 512, metaIndex: 'internal', hasWriteCache: true, metaData: { format: 'v09' } });
  t.equal(typeof backing === 'string' ? 0 : backing.usableSectors, placement({ kind: 'internal', deviceBytes: 8 * MIB }).usableSectors);

  t.equal(await attempt(`${dir}/none`), `ERR_OPEN_DISK: open("${dir}/none") failed with -2`);
  t.match(await attempt(dir), /^ERR_OPEN_DISK/);
  t.equal(await attempt('/dev/null'), 'ERR_DISK_NOT_BDEV');
  const meta = image(`${dir}/meta`, 2 * MIB, 'flex-external');
  t.equal(await attempt(good, meta), 'ERR_MD_IDX_INVALID', 'internal meta-data lies on the data device');
  t.equal(await attempt(good, good, META_INDEX_FLEXIBLE), 'ERR_MD_IDX_INVALID');
  t.equal(await attempt(good, good, 0), 'ERR_OPEN_MD_DISK');
  t.equal(await attempt(good, `${dir}/none`, META_INDEX_FLEXIBLE), `ERR_OPEN_MD_DISK: open("${dir}/none") failed with -2`);
  t.match(await attempt(good, meta, META_INDEX_FLEXIBLE), { metaIndex: 'flexible' });
  t.equal(await attempt(good, image(`${dir}/small`, 512 * 1024, 'flex-external'), META_INDEX_FLEXIBLE), 'ERR_MD_DISK_TOO_SMALL');
  t.match(await attempt(good, meta, 0), /^ERR_MD_INVALID: meta data offsets don't make sense/, 'an indexed area has its own geometry');

  const endless = image(`${dir}/endless`, 2 * MIB, 'flex-external', (md) => {
    md.md_size_sect = 2 ** 31;
    md.effective_size = 2 ** 40;
  });
  t.equal(await attempt(good, endless, META_INDEX_FLEXIBLE), 'ERR_IO_MD_DISK', 'a bitmap of 16 GiB on a device of 2 MiB');

  t.equal(
    await attempt(image(`${dir}/empty`, 8 * MIB, undefined)),
    'ERR_MD_INVALID: Meta data magic not found. Did you "drbdadm create-md"?',
  );
  t.equal(await attempt(image(`${dir}/tiny`, 512, undefined)), 'ERR_IO_MD_DISK');
  const unclean = image(`${dir}/unclean`, 8 * MIB, 'internal', (md) => {
    md.flags &= ~MDF.AL_CLEAN;
  });
  t.equal(await attempt(unclean), 'ERR_MD_UNCLEAN: Found unclean meta data. Did you "drbdadm apply-al"?');
  const foreign = image(`${dir}/foreign`, 8 * MIB, 'internal', (md) => {
    md.node_id = 3;
  });
  t.equal(await attempt(foreign), 'ERR_MD_INVALID: ambiguous node id: meta-data: 3, config: 0');
  t.equal(await attempt(good, good, META_INDEX_INTERNAL, 1 << 20), 'ERR_DISK_TOO_SMALL');

  const held = await openDisk({
    backingDev: good,
    metaDev: good,
    metaIndex: META_INDEX_INTERNAL,
    options: { size: 0 },
    nodeId: 0,
    drbd8Compat: false,
  });
  t.equal(await attempt(good), `ERR_OPEN_DISK: open("${good}") failed with -16`, 'an image is claimed with a lock');
  if (held.ok) await closeDisk(held.value.handles);
  t.match(await attempt(good), { metaIndex: 'internal' });
});
