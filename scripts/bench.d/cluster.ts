/** Two engines on this machine with resources r0, r1, … on image files, driven through their control sockets. */
import { execFile, spawn } from 'node:child_process';
import { closeSync, existsSync, fsyncSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import {
  type Command,
  type ControlClient,
  createClient,
  DISK_OPTIONS,
  defaultOptions,
  META_INDEX_INTERNAL,
  NET_OPTIONS,
  type RequestParameters,
  type ResourceSnapshot,
} from '@udrbd/control';

const run = promisify(execFile);

export type NodeName = 'alpha' | 'beta';
export const NODES: readonly NodeName[] = ['alpha', 'beta'];
const NODE_ID = { alpha: 0, beta: 1 } as const;
const PEER = { alpha: 'beta', beta: 'alpha' } as const;
const PORTS = { alpha: 0, beta: 200 } as const;
/** Minors belong to a host, and here two nodes share one. */
const FIRST_MINOR = { alpha: 0, beta: 100 } as const;

export class Cluster {
  readonly folder = mkdtempSync(join(tmpdir(), 'udrbd-bench.'));
  readonly resources: number;
  readonly #sizeMiB: number;
  readonly #diskFlushes: boolean;
  readonly #firstPort: number;
  readonly #nodeOptions: readonly string[];
  readonly #clients = new Map<NodeName, ControlClient>();

  /**
   * @param sizeMiB - of each image
   * @param options - firstPort: 7500 by default, for clusters side by side; nodeOptions: of the engines' node
   */
  constructor(
    resources: number,
    sizeMiB: number,
    options: { readonly diskFlushes?: boolean; readonly firstPort?: number; readonly nodeOptions?: readonly string[] } = {},
  ) {
    this.resources = resources;
    this.#sizeMiB = sizeMiB;
    this.#diskFlushes = options.diskFlushes ?? true;
    this.#firstPort = options.firstPort ?? 7500;
    this.#nodeOptions = options.nodeOptions ?? [];
  }

  /** Connected, UpToDate without a first sync, Primary on alpha. */
  async start(): Promise<void> {
    for (const node of NODES) {
      mkdirSync(this.#runDir(node), { recursive: true, mode: 0o700 });
      await this.startEngine(node);
    }
    for (let number = 0; number < this.resources; number++) for (const node of NODES) await this.#create(node, number);
    await this.#until('connected', ({ connections }) => connections[0]?.peerDevices[0]?.state.replicationState === 'Established');
    for (let number = 0; number < this.resources; number++) {
      await this.ask('alpha', 'new-current-uuid', { minor: FIRST_MINOR.alpha + number, clearBitmap: true, forceResync: false });
      await this.ask('alpha', 'primary', { resource: `r${number}`, force: false });
    }
  }

  /** Resolves when it serves. */
  async startEngine(node: NodeName, ...options: readonly string[]): Promise<void> {
    await run(process.execPath, [...this.#nodeOptions, 'bundle/udrbd-engine.js', ...options], { env: this.#environment(node) });
    this.#clients.get(node)?.close();
    this.#clients.set(node, dial(join(this.#runDir(node), 'control.sock')));
  }

  /** kill -9; resolves when the process is gone. */
  async kill(node: NodeName): Promise<void> {
    const pid = this.#pid(node);
    process.kill(pid, 'SIGKILL');
    while (isAlive(pid)) await sleep(1);
  }

  untilInSync(): Promise<void> {
    return this.#until('in sync', ({ connections }) => {
      const peerDevice = connections[0]?.peerDevices[0];
      return peerDevice?.state.replicationState === 'Established' && peerDevice.state.diskState === 'UpToDate';
    });
  }

  async #create(node: NodeName, number: number): Promise<void> {
    const image = join(this.folder, `${node}-r${number}.img`);
    writeImage(image, this.#sizeMiB);
    const minor = FIRST_MINOR[node] + number;
    const meta = ['bundle/drbdmeta.js', '--force', String(minor), 'v09', image, 'internal', 'create-md', '1'];
    await run(process.execPath, meta, { env: this.#environment(node) });
    const resource = `r${number}`;
    const peerNodeId = NODE_ID[PEER[node]];
    const endpoint = (of: NodeName) => ({ family: 'ipv4', address: '127.0.0.1', port: this.#firstPort + PORTS[of] + number }) as const;
    await this.ask(node, 'new-resource', { resource, nodeId: NODE_ID[node], options: {} });
    await this.ask(node, 'new-minor', { resource, minor, volume: 0, options: {} });
    await this.ask(node, 'new-peer', { resource, peerNodeId, options: { ...defaultOptions(NET_OPTIONS), _name: PEER[node] } });
    await this.ask(node, 'new-path', { resource, peerNodeId, local: endpoint(node), remote: endpoint(PEER[node]) });
    const options = { ...defaultOptions(DISK_OPTIONS), 'disk-flushes': this.#diskFlushes };
    const disk = { backingDev: image, metaDev: image, metaIndex: META_INDEX_INTERNAL, options };
    await this.ask(node, 'attach', { minor, ...disk });
    await this.ask(node, 'connect', { resource, peerNodeId, tentative: false, discardMyData: false });
  }

  async #until(what: string, holds: (resource: ResourceSnapshot) => boolean): Promise<void> {
    for (let tries = 0; tries < 300; tries++) {
      const { data } = await this.#client('alpha').request('snapshot', {});
      if (data !== undefined && data.resources.length === this.resources && data.resources.every(holds)) return;
      await sleep(100);
    }
    throw new Error(`not ${what} after 30 s`);
  }

  /** A request that has to succeed. */
  async ask<C extends Exclude<Command, 'events'>>(node: NodeName, command: C, parameters: RequestParameters[C]): Promise<void> {
    const { code, info } = await this.#client(node).request(command, parameters);
    if (code !== 101 && (code < 1 || code > 4)) throw new Error(`${node}: ${command}: code ${code} ${info.join(' ')}`);
  }

  /** The NBD socket of resource `r<number>` on a node. */
  socket(node: NodeName, number: number): string {
    return join(this.#runDir(node), 'nbd', `${FIRST_MINOR[node] + number}.sock`);
  }

  /** What the engine says, and its node when it is told to. */
  log(node: NodeName): string {
    return join(this.#runDir(node), 'engine.log');
  }

  controlSocket(node: NodeName): string {
    return join(this.#runDir(node), 'control.sock');
  }

  /** Resident memory of a node's engine in MiB. */
  residentMiB(node: NodeName): number {
    const status = readFileSync(`/proc/${this.#pid(node)}/status`, 'utf8');
    return Number(/^VmRSS:\s*(\d+)/m.exec(status)?.[1]) / 1024;
  }

  /** Processor time a node's engine has used, in seconds. */
  processorSeconds(node: NodeName): number {
    const [, fields = ''] = readFileSync(`/proc/${this.#pid(node)}/stat`, 'utf8').split(') ');
    const [user, system] = fields.split(' ').slice(11, 13).map(Number) as [number, number];
    return (user + system) / 100;
  }

  async stop(): Promise<void> {
    for (const node of NODES) {
      if (!existsSync(join(this.#runDir(node), 'engine.lock'))) continue;
      for (let number = 0; number < this.resources; number++) {
        const { code } = await this.#client(node).request('down', { resource: `r${number}` });
        if (code !== 101 && (code < 1 || code > 4)) process.stderr.write(`${node}: down r${number}: code ${code}\n`);
      }
      this.#client(node).close();
      await ended(this.#pid(node));
    }
    rmSync(this.folder, { recursive: true, force: true });
  }

  #runDir(node: NodeName): string {
    return join(this.folder, node);
  }

  #client(node: NodeName): ControlClient {
    const client = this.#clients.get(node);
    if (client === undefined) throw new Error(`${node} is not started`);
    return client;
  }

  #pid(node: NodeName): number {
    return Number(readFileSync(join(this.#runDir(node), 'engine.lock'), 'utf8'));
  }

  #environment(node: NodeName): NodeJS.ProcessEnv {
    const folder = this.#runDir(node);
    return { ...process.env, UDRBD_RUN_DIR: folder, UDRBD_STATE_DIR: folder, UDRBD_LOCK_DIR: folder, UDRBD_FRONT_END: 'nbd' };
  }
}

export function dial(path: string): ControlClient {
  const socket = connect(path).setEncoding('utf8');
  return createClient({
    send: (text) => void socket.write(text),
    onText: (listener) => void socket.on('data', (text) => listener(String(text))),
    onClose: (listener) => void socket.on('close', listener).on('error', listener),
    close: () => socket.destroy(),
  });
}

/** An image whose blocks are all allocated and written, so that no figure is about the file system below filling holes. */
export function writeImage(path: string, sizeMiB: number): void {
  const piece = Buffer.alloc(2 ** 20);
  const fd = openSync(path, 'w');
  for (let written = 0; written < sizeMiB; written++) writeSync(fd, piece);
  fsyncSync(fd);
  closeSync(fd);
}

/** Whether a process lives. One that nobody waits for yet does not. */
function isAlive(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

/** Asks a process to end and waits for it; forces it after ten seconds. */
async function ended(pid: number): Promise<void> {
  const signalled = (signal: NodeJS.Signals | 0): boolean => {
    try {
      return process.kill(pid, signal);
    } catch {
      return false; // gone
    }
  };
  if (!signalled('SIGTERM')) return;
  for (let tries = 0; tries < 100; tries++) {
    await sleep(100);
    if (!signalled(0)) return;
  }
  signalled('SIGKILL');
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
