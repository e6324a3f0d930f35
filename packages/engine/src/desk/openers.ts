/** Who has a block device open: mounts, swap, stacked devices, and processes that hold a descriptor. */
import { readdir, readFile, readlink, realpath } from 'node:fs/promises';
import { basename } from 'node:path';

export interface Opener {
  /** Line for `additional info`, without indentation. */
  readonly text: string;
}

/** By name of the block device (`ublkb0`): what uses it for as long as it likes, which is quickly found out. */
export type DeviceUsers = ReadonlyMap<string, readonly Opener[]>;

/** Mounts and swap of the whole host. */
export async function findDeviceUsers(): Promise<DeviceUsers> {
  const users = new Map<string, Opener[]>();
  const note = async (device: string | undefined, text: string): Promise<void> => {
    if (device === undefined || !device.startsWith('/dev/')) return;
    const name = basename(await realpath(device).catch(() => device));
    users.set(name, [...(users.get(name) ?? []), { text }]);
  };
  for (const [device, folder] of await tableOf('/proc/mounts')) await note(device, `mounted on ${folder}`);
  for (const [device] of await tableOf('/proc/swaps')) await note(device, 'used as swap');
  return users;
}

const tableOf = async (path: string): Promise<string[][]> =>
  (await readFile(path, 'utf8').catch(() => '')).split('\n').map((line) => line.split(/\s+/));

/**
 * Mounts, swap and stacked devices.
 * @param path - the block device itself, `/dev/ublkbN`
 */
export async function findUsers(path: string, users: DeviceUsers): Promise<Opener[]> {
  const name = basename(path);
  const holders = await readdir(`/sys/block/${name}/holders`).catch(() => []);
  return [...holders.map((holder) => ({ text: `held by ${holder}` })), ...(users.get(name) ?? [])];
}

/** Descriptors of other processes too. */
export async function findOpeners(path: string): Promise<Opener[]> {
  const openers = await findUsers(path, await findDeviceUsers());
  const name = basename(path);
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
