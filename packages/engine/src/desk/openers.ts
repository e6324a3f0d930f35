/** Who has a block device open: mounts, stacked devices, and processes that hold a descriptor. */
import { readdir, readFile, readlink, realpath } from 'node:fs/promises';
import { basename } from 'node:path';

export interface Opener {
  /** Line for `additional info`, without indentation. */
  readonly text: string;
}

/** @param path - the block device, `/dev/ublkbN` */
export async function findOpeners(path: string): Promise<Opener[]> {
  const openers: Opener[] = [];
  const name = basename(await realpath(path).catch(() => path));
  for (const holder of await readdir(`/sys/block/${name}/holders`).catch(() => [])) openers.push({ text: `held by ${holder}` });
  const mounts = await readFile('/proc/mounts', 'utf8').catch(() => '');
  for (const line of mounts.split('\n')) {
    const [device, folder] = line.split(' ');
    if (device === undefined || !device.startsWith('/dev/')) continue;
    if (basename(await realpath(device).catch(() => device)) === name) openers.push({ text: `mounted on ${folder}` });
  }
  for (const pid of await readdir('/proc').catch(() => [])) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue;
    for (const fd of await readdir(`/proc/${pid}/fd`).catch(() => [])) {
      const target = await readlink(`/proc/${pid}/fd/${fd}`).catch(() => undefined);
      if (target === undefined || !target.startsWith('/dev/') || basename(target) !== name) continue;
      const comm = (await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '?')).trim();
      openers.push({ text: `opened by ${comm} (pid ${pid})` });
      break;
    }
  }
  return openers;
}
