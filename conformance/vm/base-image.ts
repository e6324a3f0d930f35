// The guest's root file system: an ext4 image that changes only with the host's tools and the kernel, so it is built once and
// cached. It goes into the VM as a throw-away snapshot: node and fio with their libraries are read as they are needed instead of
// being unpacked into memory at every boot.
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fingerprint, once } from './cache.js';
import { command, findCommand, installMissing } from './host-tools.js';
import { stockUtils, unpackedPackage } from './packages.js';

/** What every guest has beside busybox, which fills in the rest. */
const TOOLS = `fio bash jq fuser strace
  dd stat sha256sum md5sum truncate timeout od sync seq date cmp diff env sort tail tee
  mkfs.ext4 e2fsck fsck.ext4 tune2fs resize2fs debugfs dumpe2fs mkfs.xfs xfs_repair
  mount umount losetup lsblk blkid blockdev blkdiscard fallocate findmnt flock setsid wipefs dmsetup
  modprobe insmod rmmod lsmod modinfo ip tc ss`.split(/\s+/);

/** Tools that the tests do without when the host lacks them. */
const OPTIONAL = new Set(['jq', 'fuser', 'strace', 'tc', 'ss']);

/** Kernel modules with all they depend on. Those of the first line are put into the initramfs: the root lies on them. */
const BOOT_MODULES = ['virtio_blk'];
const MODULES =
  `ublk_drv drbd brd loop null_blk nbd virtio_net virtio-rng tun veth dummy bridge sch_netem sch_tbf sch_prio cls_u32 cls_basic
  nf_tables nft_compat iptable_filter xt_tcpudp dm-mod dm-flakey dm-delay dm-snapshot dm-log-writes dm-dust xfs overlay libcrc32c crc32c_generic
  crc32c_intel hmac sha1_generic sha1-ssse3 sha256_generic md5 cmac`.split(/\s+/);

/** A kernel and a root that fit each other. */
export interface BaseImage {
  readonly kernel: string;
  readonly release: string;
  /** ext4 image; never written to. */
  readonly root: string;
  /** Uncompressed modules that the initramfs loads, in order. */
  readonly bootModules: readonly string[];
}

export function baseImage(): BaseImage {
  installMissing();
  const kernelPackage = unpackedPackage('bookworm-backports', 'linux-image-cloud-amd64', { resolve: true });
  const stock = stockUtils();
  const image = readdirSync(join(kernelPackage, 'boot')).find((file) => file.startsWith('vmlinuz-'));
  if (image === undefined) throw new Error(`${kernelPackage} has no kernel`);
  const release = image.slice('vmlinuz-'.length);
  const tools = TOOLS.map((name) => (OPTIONAL.has(name) ? findCommand(name) : command(name))).filter((path) => path !== undefined);
  const key = fingerprint([release, ...MODULES, ...tools, process.execPath, command('busybox'), import.meta.filename]);
  const folder = once(`base-${key}`, (scratch) => {
    process.stderr.write('scripts/vm: building the base image\n');
    const tree = join(scratch, 'tree');
    fillSkeleton(tree);
    fillTools(tree, tools);
    fillStock(tree, stock);
    fillModules(tree, kernelPackage, release);
    fillBusybox(tree);
    mkdirSync(join(scratch, 'boot'));
    for (const name of BOOT_MODULES) copyFileSync(moduleFile(tree, release, name), join(scratch, 'boot', `${name}.ko`));
    const megabytes = Math.ceil(Number(execFileSync('du', ['-sm', tree], { encoding: 'utf8' }).split('\t')[0]) * 1.1 + 320);
    const options = ['-q', '-F', '-O', '^has_journal', '-m', '0', '-E', 'root_owner=0:0', '-d', tree];
    execFileSync(command('mkfs.ext4'), [...options, join(scratch, 'root.ext4'), `${megabytes}M`], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    rmSync(tree, { recursive: true });
  });
  removeOutdated(folder);
  return {
    kernel: join(kernelPackage, 'boot', image),
    release,
    root: join(folder, 'root.ext4'),
    bootModules: BOOT_MODULES.map((name) => join(folder, 'boot', `${name}.ko`)),
  };
}

/** Images for other tools or kernels, unless another run has just made them. */
function removeOutdated(current: string): void {
  for (const name of readdirSync(dirname(current))) {
    const folder = join(dirname(current), name);
    if (!/^base-[0-9a-f]+$/.test(name) || folder === current) continue;
    const age = Date.now() - (statSync(folder, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
    if (age > 3_600_000) rmSync(folder, { recursive: true, force: true });
  }
}

function fillSkeleton(tree: string): void {
  for (const folder of [
    'usr/bin',
    'usr/sbin',
    'usr/lib',
    'usr/lib64',
    'usr/local/bin',
    'etc',
    'var/lib/drbd',
    'root',
    'out',
    'udrbd',
    'mnt',
  ])
    mkdirSync(join(tree, folder), { recursive: true });
  for (const folder of ['proc', 'sys', 'dev', 'run', 'tmp', 'stock/bin']) mkdirSync(join(tree, folder), { recursive: true });
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) symlinkSync(`usr/${name}`, join(tree, name));
  symlinkSync('../run', join(tree, 'var/run'));
  symlinkSync('../run/lock', join(tree, 'var/lock'));
  symlinkSync('/proc/self/mounts', join(tree, 'etc/mtab'));
  writeFileSync(join(tree, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
  writeFileSync(join(tree, 'etc/group'), 'root:x:0:\ndisk:x:6:\n');
  writeFileSync(join(tree, 'etc/nsswitch.conf'), 'passwd: files\ngroup: files\nhosts: files\n');
  writeFileSync(join(tree, 'etc/services'), '');
}

/** Where a host file goes: the guest has /usr merged. */
const guestPath = (path: string): string => path.replace(/^\/(bin|sbin|lib|lib64)\//, '/usr/$1/');

function copyInto(tree: string, path: string, target = guestPath(path)): void {
  const to = join(tree, target);
  if (existsSync(to)) return;
  mkdirSync(dirname(to), { recursive: true });
  copyFileSync(path, to);
  chmodSync(to, 0o755);
}

/** The shared libraries that `programs` load at start, each at the path where the loader looks for it. */
function copyLibraries(tree: string, programs: readonly string[]): void {
  const libraries = new Set<string>();
  for (const program of programs) {
    let text = '';
    try {
      text = execFileSync('ldd', [program], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    } catch {
      continue; // a script or a static program
    }
    for (const [, path = ''] of text.matchAll(/(\/\S+) \(0x/g)) libraries.add(path);
  }
  for (const library of libraries) copyInto(tree, library);
}

function fillTools(tree: string, tools: readonly string[]): void {
  for (const tool of tools) copyInto(tree, tool);
  copyInto(tree, process.execPath, '/usr/bin/node');
  copyLibraries(tree, [...tools, process.execPath]);
}

/** The stock commands and the programs that drive the 8.4 module, under /stock; /lib/drbd is where they look for each other. */
function fillStock(tree: string, stock: string): void {
  const programs: string[] = [];
  for (const folder of ['sbin', 'usr/sbin', 'lib/drbd', 'usr/lib/drbd']) {
    if (!existsSync(join(stock, folder))) continue;
    cpSync(join(stock, folder), join(tree, 'stock', folder), { recursive: true, verbatimSymlinks: true });
    for (const file of readdirSync(join(stock, folder))) programs.push(join(stock, folder, file));
  }
  copyLibraries(tree, programs);
  for (const name of ['drbdadm', 'drbdsetup', 'drbdmeta']) {
    const home = ['sbin', 'usr/sbin'].find((folder) => existsSync(join(stock, folder, name)));
    if (home !== undefined) symlinkSync(`../${home}/${name}`, join(tree, 'stock/bin', name));
  }
  symlinkSync('/stock/lib/drbd', join(tree, 'usr/lib/drbd'));
}

/** modules.dep of the whole kernel package: file → files it needs, all relative to the release's folder. */
function dependencies(kernelPackage: string, release: string): Map<string, string[]> {
  execFileSync(command('depmod'), ['-b', kernelPackage, release]);
  const lines = readFileSync(join(kernelPackage, 'lib/modules', release, 'modules.dep'), 'utf8')
    .trim()
    .split('\n');
  return new Map(
    lines.map((line): [string, string[]] => [line.split(':')[0]!, (line.split(':')[1] ?? '').split(' ').filter((file) => file !== '')]),
  );
}

const moduleName = (file: string): string =>
  basename(file)
    .replace(/\.ko.*$/, '')
    .replaceAll('-', '_');

function moduleFile(tree: string, release: string, name: string): string {
  const files = readdirSync(join(tree, 'lib/modules', release, 'kernel'), { recursive: true, encoding: 'utf8' });
  const file = files.find((candidate) => moduleName(candidate) === name.replaceAll('-', '_') && candidate.endsWith('.ko'));
  if (file === undefined) throw new Error(`this kernel has no module ${name}`);
  return join(tree, 'lib/modules', release, 'kernel', file);
}

function fillModules(tree: string, kernelPackage: string, release: string): void {
  const graph = dependencies(kernelPackage, release);
  const wanted = new Set([...BOOT_MODULES, ...MODULES].map((name) => name.replaceAll('-', '_')));
  const files = new Set<string>();
  for (const [file, needs] of graph) if (wanted.has(moduleName(file))) for (const each of [file, ...needs]) files.add(each);
  const source = join(kernelPackage, 'lib/modules', release);
  const target = join(tree, 'usr/lib/modules', release);
  for (const file of files) {
    const plain = join(target, file.replace(/\.xz$/, ''));
    mkdirSync(dirname(plain), { recursive: true });
    if (!file.endsWith('.xz')) copyFileSync(join(source, file), plain);
    else writeFileSync(plain, execFileSync(command('xz'), ['-dc', join(source, file)], { maxBuffer: 1 << 28 }));
  }
  for (const file of ['modules.order', 'modules.builtin', 'modules.builtin.modinfo'])
    if (existsSync(join(source, file))) copyFileSync(join(source, file), join(target, file));
  execFileSync(command('depmod'), ['-b', tree, release]);
}

/** busybox under the name of every tool that is not there yet. */
function fillBusybox(tree: string): void {
  copyInto(tree, command('busybox'), '/usr/bin/busybox');
  const applets = execFileSync(command('busybox'), ['--list'], { encoding: 'utf8' }).trim().split('\n');
  const present = new Set(['usr/bin', 'usr/sbin'].flatMap((folder) => readdirSync(join(tree, folder))));
  for (const applet of applets) if (!present.has(applet)) symlinkSync('busybox', join(tree, 'usr/bin', applet));
}
