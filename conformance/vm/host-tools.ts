// What the harness needs on the host. Asks apt only when something is missing.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { withLock } from './cache.js';

/** Command → the Debian package that has it. */
const PACKAGE_OF: Readonly<Record<string, string>> = {
  'qemu-system-x86_64': 'qemu-system-x86',
  busybox: 'busybox-static',
  fio: 'fio',
  depmod: 'kmod',
  ip: 'iproute2',
  xz: 'xz-utils',
  'mkfs.ext4': 'e2fsprogs',
  blkdiscard: 'util-linux',
  dmsetup: 'dmsetup',
  'mkfs.xfs': 'xfsprogs',
};

const FOLDERS = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

/** Absolute path of a command of the host, or undefined. */
export function findCommand(name: string): string | undefined {
  return FOLDERS.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

/** Absolute path of a command of the host that must be there. */
export function command(name: string): string {
  const path = findCommand(name);
  if (path === undefined) throw new Error(`${name} is not installed on this machine`);
  return path;
}

/** Installs the packages of the commands that are missing. Needs root for that; throws when apt does not help. */
export function installMissing(names: readonly string[] = Object.keys(PACKAGE_OF)): void {
  const missing = () => names.filter((name) => findCommand(name) === undefined).map((name) => PACKAGE_OF[name] ?? name);
  if (missing().length === 0) return;
  withLock('apt', () => {
    const packages = missing();
    if (packages.length === 0) return;
    process.stderr.write(`scripts/vm: installing ${packages.join(' ')}\n`);
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    execFileSync('apt-get', ['-qq', 'update'], { env, stdio: ['ignore', 'ignore', 'inherit'] });
    execFileSync('apt-get', ['-qq', 'install', '-y', '--no-install-recommends', ...packages], {
      env,
      stdio: ['ignore', 'ignore', 'inherit'],
    });
  });
  if (missing().length > 0) throw new Error(`apt-get did not install ${missing().join(' ')}`);
}
