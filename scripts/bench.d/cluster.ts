/** Two nodes on this machine, on image files, with resources r0, r1, …; the bundled commands drive them. */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export type NodeName = 'alpha' | 'beta';
export const NODES: readonly NodeName[] = ['alpha', 'beta'];
const FIRST_PORT = { alpha: 7500, beta: 7700 } as const;
/** Minors are a matter of one host, and here two nodes share one. */
const FIRST_MINOR = { alpha: 0, beta: 100 } as const;

export class Cluster {
  readonly folder = mkdtempSync(join(tmpdir(), 'udrbd-bench.'));
  readonly #configuration = join(this.folder, 'drbd.conf');
  readonly resources: number;

  /** @param sizeMiB - of each image */
  constructor(resources: number, sizeMiB: number) {
    this.resources = resources;
    const sections: string[] = [];
    for (const node of NODES)
      for (const part of ['run', 'state', 'lock']) mkdirSync(join(this.folder, node, part), { recursive: true, mode: 0o700 });
    for (let number = 0; number < resources; number++) {
      const host = (node: NodeName): string => {
        const image = join(this.folder, node, `r${number}.img`);
        writeFileSync(image, '');
        truncateSync(image, sizeMiB * 2 ** 20);
        return `  on ${node} { device minor ${FIRST_MINOR[node] + number}; disk ${image}; meta-disk internal; address 127.0.0.1:${FIRST_PORT[node] + number}; }\n`;
      };
      sections.push(`resource r${number} {\n  net { protocol C; }\n${NODES.map(host).join('')}}\n`);
    }
    writeFileSync(this.#configuration, sections.join(''));
  }

  environment(node: NodeName): NodeJS.ProcessEnv {
    const folder = join(this.folder, node);
    return {
      ...process.env,
      UDRBD_NODE: node,
      UDRBD_RUN_DIR: join(folder, 'run'),
      UDRBD_STATE_DIR: join(folder, 'state'),
      UDRBD_LOCK_DIR: join(folder, 'lock'),
      UDRBD_FRONT_END: 'nbd',
    };
  }

  adm(node: NodeName, ...words: string[]): string {
    const argv = [join('bundle', 'drbdadm.js'), '-c', this.#configuration, ...words];
    return execFileSync(process.execPath, argv, { env: this.environment(node), encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  }

  setup(node: NodeName, ...words: string[]): string {
    const argv = [join('bundle', 'drbdsetup.js'), ...words];
    return execFileSync(process.execPath, argv, { env: this.environment(node), encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  }

  /** Connected, UpToDate without a first sync, Primary on alpha. */
  async start(): Promise<void> {
    for (const node of NODES) this.adm(node, 'create-md', '--force', 'all');
    for (const node of NODES) this.adm(node, 'up', 'all');
    await this.until('Connected', () => this.adm('alpha', 'cstate', 'all'));
    for (let number = 0; number < this.resources; number++) {
      this.setup('alpha', 'new-current-uuid', '--clear-bitmap', String(FIRST_MINOR.alpha + number));
    }
    await this.until('UpToDate/UpToDate', () => this.adm('alpha', 'dstate', 'all'));
    this.adm('alpha', 'primary', 'all');
  }

  async until(wanted: string, ask: () => string): Promise<void> {
    const deadline = Date.now() + 30_000;
    for (;;) {
      const lines = ask().trim().split('\n');
      if (lines.length === this.resources && lines.every((line) => line === wanted)) return;
      if (Date.now() > deadline) throw new Error(`still not ${wanted}: ${lines.join(', ')}`);
      await sleep(200);
    }
  }

  /** The NBD socket of resource `r<number>` on a node. */
  socket(node: NodeName, number: number): string {
    return join(this.folder, node, 'run', 'nbd', `${FIRST_MINOR[node] + number}.sock`);
  }

  pid(node: NodeName): number {
    return Number(readFileSync(join(this.folder, node, 'run', 'engine.lock'), 'utf8'));
  }

  /** Resident memory of a node's engine in MiB. */
  residentMiB(node: NodeName): number {
    const status = readFileSync(`/proc/${this.pid(node)}/status`, 'utf8');
    return Number(/^VmRSS:\s*(\d+)/m.exec(status)?.[1]) / 1024;
  }

  async stop(): Promise<void> {
    for (const node of NODES) {
      try {
        this.adm(node, 'secondary', 'all');
        this.adm(node, 'down', 'all');
      } catch (error) {
        process.stderr.write(`${node}: ${(error as Error).message}\n`);
      }
      try {
        await ended(this.pid(node));
      } catch (error) {
        process.stderr.write(`${node}: ${(error as Error).message}\n`);
      }
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Asks a process to end and waits for it; forces it after ten seconds. */
async function ended(pid: number): Promise<void> {
  const isAlive = (): boolean => {
    try {
      return process.kill(pid, 0);
    } catch {
      return false;
    }
  };
  if (!isAlive()) return;
  process.kill(pid, 'SIGTERM');
  for (let tries = 0; tries < 100; tries++) {
    await sleep(100);
    if (!isAlive()) return;
  }
  process.kill(pid, 'SIGKILL');
}

/** A server of somebody else's, up when its socket exists. @returns how to end it */
export async function serve(socket: string, file: string, argv: readonly string[]): Promise<() => Promise<void>> {
  const child = spawn(file, argv, { stdio: ['ignore', 'ignore', 'inherit'] });
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  for (let tries = 0; !existsSync(socket); tries++) {
    if (tries > 50 || child.exitCode !== null) throw new Error(`${file} does not listen on ${socket}`);
    await sleep(100);
  }
  return async () => {
    child.kill('SIGTERM');
    await exited;
  };
}
