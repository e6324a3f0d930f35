// KVM when it can run a kernel, else QEMU's own emulation. A /dev/kvm that exists proves nothing (nested machines, filters), so
// the answer comes from one trial boot and is cached.
import { spawnSync } from 'node:child_process';
import { accessSync, constants, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { baseImage } from './base-image.js';
import { cacheFolder, fingerprint } from './cache.js';
import { cpio } from './cpio.js';
import { command } from './host-tools.js';

// QEMU 7.2's emulation of cmpxchg16b corrupts the guest.
const EMULATED = '-accel tcg,thread=multi -cpu max,-cx16';
const VIRTUAL = '-accel kvm -cpu host';
const TRIAL_MS = 8_000;

/** QEMU's flags for processor and acceleration. UDRBD_VM_ACCEL=tcg or kvm decides without a trial. */
export function acceleration(): string {
  const wish = process.env.UDRBD_VM_ACCEL;
  if (wish === 'tcg') return EMULATED;
  if (wish === 'kvm') return VIRTUAL;
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
  } catch {
    return EMULATED;
  }
  const answer = join(cacheFolder, `kvm-${fingerprint([release(), command('qemu-system-x86_64')])}`);
  try {
    return readFileSync(answer, 'utf8') === 'works' ? VIRTUAL : EMULATED;
  } catch {
    const works = kernelStarts();
    writeFileSync(answer, works ? 'works' : 'does not work');
    return works ? VIRTUAL : EMULATED;
  }
}

/** Boots an initramfs whose only program says so and stops. */
function kernelStarts(): boolean {
  const folder = mkdtempSync(join(tmpdir(), 'udrbd-vm-'));
  const initrd = join(folder, 'initrd');
  const init = '#!/bin/sh\necho alive > /dev/console\npoweroff -f\n';
  const busybox = readFileSync(command('busybox'));
  writeFileSync(
    initrd,
    cpio([
      { path: 'init', content: init, mode: 0o755 },
      ...['sh', 'poweroff'].map((name) => ({ path: `bin/${name}`, content: busybox, mode: 0o755 })),
      { path: 'dev', kind: 'folder' },
    ]),
  );
  const words = `-nodefaults -display none -no-reboot -smp 2 -m 512 -nic none -serial stdio ${VIRTUAL} -kernel ${baseImage().kernel} -initrd ${initrd}`;
  const trial = spawnSync(command('qemu-system-x86_64'), [...words.split(' '), '-append', 'console=ttyS0 panic=-1'], {
    timeout: TRIAL_MS,
    killSignal: 'SIGKILL',
    encoding: 'utf8',
  });
  rmSync(folder, { recursive: true });
  return trial.stdout.includes('alive');
}
