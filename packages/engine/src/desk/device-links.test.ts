import { existsSync, readlinkSync } from 'node:fs';
import t from 'tap';
import { createLinks, removeLinks } from './device-links.js';

for (const [isUnnumbered, byRes] of [
  [false, 'drbd/by-res/r0/0'],
  [true, 'drbd/by-res/r0'],
] as const) {
  t.test(byRes, async (t) => {
    const folder = t.testdir({});
    const names = { resource: 'r0', volume: 0, minor: 7, isUnnumbered, backingDev: '/dev/vg/data' };
    t.strictSame(await createLinks(folder, names, '/dev/ublkb3'), []);
    for (const path of ['drbd7', byRes, 'drbd/by-disk/vg/data']) t.equal(readlinkSync(`${folder}/${path}`), '/dev/ublkb3', path);
    await removeLinks(folder, names, '/dev/ublkb4');
    t.equal(readlinkSync(`${folder}/${byRes}`), '/dev/ublkb3', 'that of another device stays');
    await removeLinks(folder, names, '/dev/ublkb3');
    t.notOk(existsSync(`${folder}/drbd7`));
    t.notOk(existsSync(`${folder}/drbd`), 'empty folders go');
  });
}
