// The files a kernel peer is made of: Debian's user-mode-linux (a Linux kernel that runs as a process) and the stock commands.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { repository } from '../vm/cache.js';
import { cpio } from '../vm/cpio.js';
import { command, installMissing } from '../vm/host-tools.js';
import { stockUtils, unpackedPackage } from '../vm/packages.js';

export interface UmlKernel {
  /** The kernel, an ordinary program. */
  readonly program: string;
  /** Folder whose entries are releases, as /lib/modules. */
  readonly modules: string;
  /** Root of the unpacked drbd-utils. */
  readonly stock: string;
  readonly initrd: Buffer;
}

export function umlKernel(): UmlKernel {
  installMissing(['busybox', 'ip', 'depmod']);
  const kernel = unpackedPackage('bookworm', 'user-mode-linux');
  const init = readFileSync(join(repository, 'conformance/uml/guest/init.sh'));
  return {
    program: join(kernel, 'usr/bin/linux.uml'),
    modules: join(kernel, 'usr/lib/uml/modules'),
    stock: stockUtils(),
    initrd: cpio([
      { path: 'init', content: init, mode: 0o755 },
      { path: 'bin/busybox', content: readFileSync(command('busybox')), mode: 0o755 },
      { path: 'bin/sh', kind: 'link', content: '/usr/bin/bash' },
      { path: 'bin/true', kind: 'link', content: '/usr/bin/true' },
      { path: 'dev', kind: 'folder' },
    ]),
  };
}
