// One virtual machine from power on to the end of its command.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  appendFileSync,
  closeSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { acceleration } from './acceleration.js';
import { type BaseImage, baseImage } from './base-image.js';
import { cacheFolder } from './cache.js';
import { command } from './host-tools.js';
import { initramfs } from './work-layer.js';

/** What to run and in what kind of machine. */
export interface VmOptions {
  /** A shell script, a .ts/.mjs/.js file (bundled), or a command that the guest has. */
  readonly script: string;
  readonly args?: readonly string[];
  /** Joins the machine to the network of this name on this host, as 10.99.0.1 (node 0) or 10.99.0.2 (node 1). */
  readonly net?: { readonly name: string; readonly node: 0 | 1 };
  /** MiB; 1024 by default. */
  readonly memory?: number;
  /** Processors; 2 by default. */
  readonly processors?: number;
  /** Seconds from power on until the machine is switched off; 300 by default. */
  readonly timeout?: number;
  /** Path in the guest → file or folder of the host. */
  readonly files?: Readonly<Record<string, string>>;
  /** Folder of the host that receives what the command left in /out. */
  readonly out?: string;
  /** Gets what the command prints, as it comes. */
  readonly onOutput?: (chunk: Buffer) => void;
}

/** How a run ended. `exited`: the command ended by itself; the other three are the machine's doing. */
export type VmEnd =
  | { readonly kind: 'exited'; readonly status: number }
  | { readonly kind: 'panic'; readonly message: string }
  | { readonly kind: 'timeout'; readonly seconds: number }
  | { readonly kind: 'died'; readonly message: string };

export interface VmResult {
  readonly end: VmEnd;
  /** All that the command printed. */
  readonly output: string;
  /** The kernel's log. */
  readonly console: string;
  /** Lines of the kernel's log that a healthy run does not have: warnings, oopses, hung tasks, lockups. */
  readonly complaints: readonly string[];
  /** Folder with console.log, qemu.log and output.log; only kept when the run failed. */
  readonly logs: string | undefined;
  /** Seconds from power on to the end. */
  readonly seconds: number;
}

const COMPLAINT =
  /\b(WARNING: |BUG: |Oops|Kernel panic|general protection|blocked for more than|soft lockup|hard LOCKUP|rcu.*stall|Out of memory: Killed)/;
const KEPT_LOGS = 20;

export async function runVm(options: VmOptions): Promise<VmResult> {
  const base = baseImage();
  const logs = logFolder();
  const sockets = mkdtempSync(join(tmpdir(), 'udrbd-vm-'));
  const end = randomBytes(12).toString('hex');
  const seconds = options.timeout ?? 300;
  const output: Buffer[] = [];
  try {
    writeFileSync(join(sockets, 'initrd'), initramfs(base, options.script, options.args ?? [], options.files));
    if (options.out !== undefined) sparseFile(join(sockets, 'out.disk'), 512 << 20);
    const port = await listen(join(sockets, 'output'));
    const started = Date.now();
    const qemu = startQemu(qemuArguments(options, base, sockets, logs, end), logs);
    const reader = markedStream(end, (chunk) => {
      output.push(chunk);
      appendFileSync(join(logs, 'output.log'), chunk);
      options.onOutput?.(chunk);
    });
    port.onData(reader.push);
    const ended = await waitFor(qemu, reader, seconds);
    const took = (Date.now() - started) / 1000;
    await port.drained();
    reader.flush();
    const log = readIfThere(join(logs, 'console.log')).replaceAll('\r', '');
    const result = verdict(ended, reader.status(), log, readIfThere(join(logs, 'qemu.log')), seconds);
    if (options.out !== undefined && result.kind === 'exited') unpackResults(join(sockets, 'out.disk'), options.out);
    const failed = result.kind !== 'exited' || result.status !== 0;
    if (!failed) rmSync(logs, { recursive: true });
    const complaints = log.split('\n').filter((line) => COMPLAINT.test(line));
    return {
      end: result,
      output: Buffer.concat(output).toString(),
      console: log,
      complaints,
      logs: failed ? logs : undefined,
      seconds: took,
    };
  } finally {
    rmSync(sockets, { recursive: true, force: true });
  }
}

function qemuArguments(options: VmOptions, base: BaseImage, sockets: string, logs: string, end: string): string[] {
  const append = [
    'console=ttyS0 loglevel=5 panic=-1 nokaslr mitigations=off tsc=reliable no_timer_check random.trust_cpu=on audit=0 apparmor=0',
    `vm.end=${end} vm.deadline=${Math.floor(Date.now() / 1000) + (options.timeout ?? 300)}`,
    options.net === undefined ? '' : `vm.node=${options.net.node}`,
  ];
  const words = [
    '-nodefaults -no-user-config -display none -no-reboot -bios qboot.rom -M pc,hpet=off',
    acceleration(),
    `-smp ${options.processors ?? 2} -m ${options.memory ?? 1024} -nic none`,
    `-kernel ${base.kernel} -initrd ${sockets}/initrd`,
    `-drive file=${base.root},format=raw,if=none,id=root,snapshot=on -device virtio-blk-pci,drive=root`,
    `-chardev file,id=console,path=${logs}/console.log -serial chardev:console`,
    '-device virtio-rng-pci -device virtio-serial-pci',
    `-chardev socket,id=output,path=${sockets}/output -device virtserialport,chardev=output,name=output`,
  ];
  if (options.out !== undefined)
    words.push(`-drive file=${sockets}/out.disk,format=raw,if=none,id=out,cache=unsafe -device virtio-blk-pci,drive=out`);
  if (options.net !== undefined) words.push(networkArguments(options.net.name, options.net.node));
  return [...words.join(' ').split(/\s+/), '-append', append.join(' ')];
}

/** Each side sends its frames as datagrams to the other's socket; whichever starts first loses what it says before the other is there. */
function networkArguments(name: string, node: 0 | 1): string {
  const folder = join(tmpdir(), `udrbd-vm-net-${name}`);
  mkdirSync(folder, { recursive: true });
  const own = join(folder, `${node}`);
  rmSync(own, { force: true });
  const ends = `local.type=unix,local.path=${own},remote.type=unix,remote.path=${join(folder, `${1 - node}`)}`;
  return `-netdev dgram,id=net,${ends} -device virtio-net-pci,netdev=net,mac=52:54:00:99:00:0${node + 1}`;
}

/** Removes the sockets of a network that both machines have left. */
export function removeNetwork(name: string): void {
  rmSync(join(tmpdir(), `udrbd-vm-net-${name}`), { recursive: true, force: true });
}

function startQemu(args: string[], logs: string): ChildProcess {
  const log = openSync(join(logs, 'qemu.log'), 'a');
  appendFileSync(join(logs, 'qemu.log'), `qemu-system-x86_64 ${args.join(' ')}\n`);
  // The machine dies with the harness, however that ends.
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', command('qemu-system-x86_64'), ...args], { stdio: ['ignore', log, log] });
  closeSync(log);
  return child;
}

/** Waits for the end marker, the end of QEMU, or the end of the time; afterwards QEMU is gone. */
async function waitFor(qemu: ChildProcess, reader: MarkedStream, seconds: number): Promise<'ended' | 'timeout'> {
  const gone = new Promise<'ended'>((settle) => {
    qemu.on('exit', () => settle('ended'));
    qemu.on('error', () => settle('ended'));
  });
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<'timeout'>((settle) => {
    timer = setTimeout(() => settle('timeout'), seconds * 1000);
  });
  const first = await Promise.race([gone, late, reader.done.then(() => 'ended' as const)]);
  clearTimeout(timer);
  qemu.kill('SIGKILL');
  await gone;
  return first;
}

function verdict(ended: 'ended' | 'timeout', status: number | undefined, log: string, qemuLog: string, seconds: number): VmEnd {
  if (status !== undefined) return { kind: 'exited', status };
  const panic = /Kernel panic.*|Oops:.*/.exec(log)?.[0];
  if (panic !== undefined) return { kind: 'panic', message: panic };
  if (ended === 'timeout') return { kind: 'timeout', seconds };
  const last = (text: string): string => text.trim().split('\n').at(-1) ?? '';
  return { kind: 'died', message: `QEMU ended before the command did: ${last(qemuLog).slice(0, 200)}` };
}

interface MarkedStream {
  readonly push: (chunk: Buffer) => void;
  readonly flush: () => void;
  readonly status: () => number | undefined;
  readonly done: Promise<void>;
}

/** Passes bytes on up to `\0\0END STATUS\n`; holds back only what could be the beginning of that. */
function markedStream(end: string, sink: (chunk: Buffer) => void): MarkedStream {
  const marker = Buffer.from(`\0\0${end} `);
  let held = Buffer.alloc(0);
  let status: number | undefined;
  let finish = (): void => {};
  const done = new Promise<void>((settle) => {
    finish = settle;
  });
  const emit = (bytes: Buffer): void => {
    if (bytes.length > 0) sink(bytes);
  };
  const push = (chunk: Buffer): void => {
    if (status !== undefined) return;
    held = Buffer.concat([held, chunk]);
    const at = held.indexOf(marker);
    const stop = at < 0 ? -1 : held.indexOf('\n', at);
    if (stop >= 0) {
      emit(held.subarray(0, at));
      status = Number(held.toString('latin1', at + marker.length, stop));
      held = Buffer.alloc(0);
      finish();
      return;
    }
    const keepFrom = at >= 0 ? at : held.indexOf(0, Math.max(0, held.length - marker.length));
    emit(keepFrom < 0 ? held : held.subarray(0, keepFrom));
    held = keepFrom < 0 ? Buffer.alloc(0) : Buffer.from(held.subarray(keepFrom));
  };
  const flush = (): void => {
    emit(held);
    held = Buffer.alloc(0);
  };
  return { push, flush, status: () => status, done };
}

async function listen(path: string): Promise<{ onData: (sink: (chunk: Buffer) => void) => void; drained: () => Promise<void> }> {
  let deliver: (chunk: Buffer) => void = () => {};
  const server = createServer((socket) => {
    socket.on('data', (chunk) => deliver(chunk));
    socket.on('error', () => socket.destroy());
  });
  await new Promise<void>((settle, fail) => server.once('error', fail).listen(path, settle));
  return {
    onData: (sink) => {
      deliver = sink;
    },
    // QEMU's end closes its socket, but what it sent before may still be on the way to us.
    drained: () => new Promise((settle) => void server.close(() => settle())),
  };
}

/** A new folder for the logs of one run; the oldest ones make room. */
function logFolder(): string {
  const all = join(cacheFolder, 'logs');
  mkdirSync(all, { recursive: true });
  for (const old of readdirSync(all).sort().slice(0, -KEPT_LOGS)) rmSync(join(all, old), { recursive: true, force: true });
  return mkdtempSync(join(all, `${new Date().toISOString().replaceAll(/[-:]|\..*/g, '')}-`));
}

function sparseFile(path: string, size: number): void {
  const fd = openSync(path, 'w');
  ftruncateSync(fd, size);
  closeSync(fd);
}

function unpackResults(disk: string, folder: string): void {
  mkdirSync(folder, { recursive: true });
  const tar = spawnSync('tar', ['-xf', disk, '-C', folder], { encoding: 'utf8' });
  if (tar.status !== 0) throw new Error(`cannot unpack what the guest left in /out: ${tar.stderr}`);
}

const readIfThere = (path: string): string => (existsSync(path) ? readFileSync(path, 'utf8') : '');
