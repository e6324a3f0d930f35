// What a file of scenarios shares: one kernel, one engine, and as many resources as it has scenarios.
import { execFileSync } from 'node:child_process';
import { closeSync, existsSync, ftruncateSync, mkdirSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bundleEngine } from '../engine/engine-process.js';
import { createNamespace } from '../uml/namespace.js';
import { startUmlPeer, type UmlPeer } from '../uml/peer.js';
import { OurNode } from './our-node.js';
import { complaints, Pair, type PairOptions } from './pair.js';

export interface Setting {
  readonly folder: string;
  /** The kernel that runs now. */
  readonly peer: UmlPeer;
  readonly ours: OurNode;
  /** The engine's program, for tests that start more of them. */
  readonly program: string;
  /** A resource on the next free disk of the peer; not created yet. */
  pair(options?: Partial<PairOptions> & { readonly disk?: 'ram' | 'file' }): Pair;
  /** A power cut of the kernel, and another start with the same files as disks. What is in memory disks is lost. */
  restartPeer(): Promise<void>;
  /** What the kernel said that it should not have, since this was asked last. */
  complaints(expected?: readonly RegExp[]): Promise<string[]>;
  stop(): Promise<void>;
}

/**
 * @param disks - how many of each kind: `ram` are brd (neither discard nor a cache), `file` are files of the host (both)
 */
export async function startSetting(disks: {
  readonly ram?: number;
  readonly file?: number;
  readonly sizeMiB?: number;
  /** Size of a file system in `small` of the folder, MiB; 0: none. */
  readonly smallMiB?: number;
  /** The kernel's address is 10.98.0.NUMBER. */
  readonly number?: number;
}): Promise<Setting> {
  const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'udrbd-kernel-peer-'));
  const sizeMiB = disks.sizeMiB ?? 32;
  const files = Array.from({ length: disks.file ?? 0 }, (_, index) => {
    const path = join(folder, `kernel-${index}.img`);
    const fd = openSync(path, 'w');
    ftruncateSync(fd, sizeMiB << 20);
    closeSync(fd);
    return path;
  });
  const removeFolder = (): void => rmSync(folder, { recursive: true, force: true });
  process.on('exit', removeFolder);
  mkdirSync(join(folder, 'bundle'));
  const namespace = createNamespace();
  const boot = (): Promise<UmlPeer> =>
    startUmlPeer({ namespace, number: disks.number ?? 1, ramDisks: { count: Math.max(disks.ram ?? 0, 1) + 1, sizeMiB }, disks: files });
  const [firstPeer, program] = await Promise.all([boot(), bundleEngine(join(folder, 'bundle'))]);
  let peer = firstPeer;
  const small = join(folder, 'small');
  if (disks.smallMiB !== undefined) {
    mkdirSync(small);
    // Before the engine starts: it has mounts of its own.
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${disks.smallMiB}m`, 'none', small]);
  }
  const ours = new OurNode(program, namespace, join(folder, 'run'));
  await ours.start();
  const used = { ram: 0, file: 0, minor: 0 };
  return {
    folder,
    get peer() {
      return peer;
    },
    ours,
    program,
    pair: (options = {}) => {
      const minor = used.minor++;
      const name = options.name ?? `r${minor}`;
      const isFile = options.disk === 'file';
      const number = isFile ? used.file++ : used.ram++;
      const kernelDisk = isFile ? `/dev/ubd${String.fromCharCode(98 + number)}` : `/dev/ram${1 + number}`;
      return new Pair({
        ours,
        peer: () => peer,
        name,
        minor,
        kernelDisk,
        image: join(folder, `${name}.img`),
        imageMiB: sizeMiB,
        ...(isFile ? { kernelImage: files[number]! } : {}),
        ...options,
      });
    },
    complaints: (expected) => complaints(peer, expected),
    restartPeer: async () => {
      await peer.stop();
      peer = await boot();
    },
    stop: async () => {
      await Promise.allSettled([ours.stop(), peer.stop()]);
      namespace.remove();
      if (disks.smallMiB !== undefined) execFileSync('umount', ['-l', small]);
      process.off('exit', removeFolder);
      removeFolder();
    },
  };
}
