/** Two hosts on one machine, with a disk and our commands each, and a folder of programs that stand for those of a cluster. */
import { spawnSync } from 'node:child_process';
import { existsSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { freePort } from '../engine/free-port.js';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
export const NODES = ['alpha', 'beta'] as const;
export type Node = (typeof NODES)[number];
/** Far from those that anything else uses. */
const FIRST_MINOR = 780;
const TOOLS = ['drbdadm', 'drbdsetup', 'drbdmeta'] as const;

export interface Done {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): Done {
  const { status, stdout, stderr } = spawnSync(command, args, { env, encoding: 'utf8', timeout: 60_000 });
  return { status: status ?? -1, stdout: stdout ?? '', stderr: stderr ?? '' };
}

/** Why this machine can not hold two hosts. */
export function obstacle(): string | false {
  const can = process.getuid?.() === 0 && run('losetup', ['--find']).status === 0 && run('unshare', ['--mount', 'true']).status === 0;
  return can ? false : 'needs root, loop devices and mount namespaces';
}

export class Hosts {
  readonly work = mkdtempSync(join(tmpdir(), 'udrbd-scripts-'));
  readonly config = join(this.work, 'drbd.conf');
  readonly #disks = new Map<Node, string>();
  readonly #links: string[] = [];

  /** @param sections - of the resource r0, besides its hosts */
  async setUp(sections: string): Promise<void> {
    for (const folder of ['bin', 'etc-bin']) mkdirSync(join(this.work, folder));
    for (const tool of TOOLS) this.program(`bin/${tool}`, `#!/bin/sh\nexec ${ROOT}node_modules/.bin/${tool} "$@"\n`);
    // What finds the configuration in /etc.
    this.program('etc-bin/drbdadm', `#!/bin/sh\nexec ${ROOT}node_modules/.bin/drbdadm -c ${this.config} "$@"\n`);
    for (const name of ['uname', 'hostname']) this.program(`bin/${name}`, '#!/bin/sh\necho "$UDRBD_NODE"\n');
    let text = `global { usage-count no; }\nresource r0 {\n${sections}\n`;
    for (const [id, node] of NODES.entries()) {
      const image = join(this.work, `${node}.img`);
      writeFileSync(image, '');
      truncateSync(image, 32 * 2 ** 20);
      const disk = run('losetup', ['--find', '--show', image]).stdout.trim();
      this.#disks.set(node, disk);
      text += `  on ${node} { node-id ${id}; device minor ${this.minor(node)}; disk ${disk}; meta-disk internal; address 127.0.0.1:${await freePort()}; }\n`;
      // Stands for the device that ublk would bring.
      const device = `/dev/drbd${this.minor(node)}`;
      if (lstatSync(device, { throwIfNoEntry: false }) !== undefined) throw new Error(`${device} is there already`);
      symlinkSync(disk, device);
      this.#links.push(device);
    }
    writeFileSync(this.config, `${text}}\n`);
  }

  minor(node: Node): number {
    return FIRST_MINOR + NODES.indexOf(node);
  }

  disk(node: Node): string {
    return this.#disks.get(node)!;
  }

  program(name: string, text: string): void {
    writeFileSync(join(this.work, name), text, { mode: 0o755 });
  }

  env(node: Node, ...firstInPath: string[]): NodeJS.ProcessEnv {
    const folder = join(this.work, node);
    mkdirSync(join(folder, 'lock'), { recursive: true });
    return {
      PATH: [...firstInPath, join(this.work, 'bin'), process.env.PATH, '/usr/sbin:/sbin'].join(':'),
      LC_ALL: 'C',
      UDRBD_NODE: node,
      UDRBD_RUN_DIR: join(folder, 'run'),
      UDRBD_STATE_DIR: join(folder, 'state'),
      UDRBD_LOCK_DIR: join(folder, 'lock'),
      UDRBD_FRONT_END: 'nbd',
      UDRBD_DEV_DIR: join(folder, 'dev'),
    };
  }

  /** For scripts that take it for granted that the configuration is in /etc. */
  etcEnv(node: Node): NodeJS.ProcessEnv {
    return this.env(node, join(this.work, 'etc-bin'));
  }

  adm(node: Node, ...words: string[]): Done {
    return run('drbdadm', ['-c', this.config, ...words], this.env(node));
  }

  setup(node: Node, ...words: string[]): Done {
    return run('drbdsetup', words, this.env(node));
  }

  /** Ends the engine of a node as a crash of the node would: nothing is left to take over. */
  crash(node: Node): void {
    process.kill(Number(readFileSync(join(this.work, node, 'run/engine.lock'), 'utf8')), 'SIGKILL');
    rmSync(join(this.work, node, 'run/journal.json'));
  }

  async until(what: string, isSo: () => boolean, ms = 60_000): Promise<void> {
    for (const end = Date.now() + ms; !isSo(); await sleep(100)) {
      if (Date.now() > end)
        throw new Error(
          `${what} did not happen\n${NODES.map((node) => this.setup(node, 'status', '--verbose').stdout + this.log(node)).join('\n')}`,
        );
    }
  }

  log(node: Node): string {
    const file = join(this.work, node, 'run/engine.log');
    return existsSync(file) ? readFileSync(file, 'utf8') : '';
  }

  tearDown(): void {
    for (const node of NODES) {
      this.setup(node, 'down', 'r0');
      const lock = join(this.work, node, 'run/engine.lock');
      if (existsSync(lock)) run('kill', [readFileSync(lock, 'utf8').trim()]);
      const disk = this.#disks.get(node);
      for (let i = 0; disk !== undefined && i < 50 && run('losetup', ['-d', disk]).status !== 0; i++) run('sleep', ['0.1']);
    }
    for (const link of this.#links) rmSync(link, { force: true });
    rmSync(this.work, { recursive: true, force: true });
  }
}
