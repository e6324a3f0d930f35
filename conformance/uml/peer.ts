// A kernel DRBD 8.4 as a peer: a Linux kernel in a process, reachable over a tap device, commanded over a console.
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { umlKernel } from './kernel.js';
import { createNamespace, HOST_ADDRESS, type Namespace } from './namespace.js';
import { within } from './within.js';

export interface UmlPeerOptions {
  /** Where it is attached; one of its own by default, which `stop` removes. */
  readonly namespace?: Namespace;
  /** 1 to 250, different for each peer in a namespace; 1 by default. Its address is 10.98.0.NUMBER. */
  readonly number?: number;
  /** `uname -n` in the guest; `kernelNUMBER` by default. */
  readonly name?: string;
  /** 512 by default. */
  readonly memoryMiB?: number;
  /** Memory disks /dev/ram0 up; 2 of 64 MiB by default. */
  readonly ramDisks?: { readonly count: number; readonly sizeMiB: number };
  /** Files of the host as disks: /dev/ubdb, /dev/ubdc, ... They outlive the peer. */
  readonly disks?: readonly string[];
}

export interface ExecResult {
  readonly status: number;
  /** stdout and stderr, in the order in which they were written. */
  readonly output: string;
}

export interface UmlPeer {
  readonly name: string;
  readonly namespace: Namespace;
  readonly hostAddress: string;
  readonly address: string;
  /** Runs a shell command (busybox sh) in the guest; calls may overlap. Rejects when it takes longer (120 s by default) or the guest is gone. */
  exec(text: string, options?: { readonly timeoutMs?: number }): Promise<ExecResult>;
  /** The same, but a status other than 0 rejects with the output. Resolves to the trimmed output. */
  run(text: string, options?: { readonly timeoutMs?: number }): Promise<string>;
  /** Pulls the network cable (either side notices only by its own timeouts) or plugs it in. */
  setLink(state: 'up' | 'down'): void;
  /** All that the kernel has logged so far. */
  console(): string;
  /** Switches it off, without any notice, as a power cut does. */
  stop(): Promise<void>;
}

const BOOT_MS = 120_000;
const ASK_AGAIN_MS = 5000;

export async function startUmlPeer(options: UmlPeerOptions = {}): Promise<UmlPeer> {
  const kernel = umlKernel();
  const number = options.number ?? 1;
  const name = options.name ?? `kernel${number}`;
  const namespace = options.namespace ?? createNamespace();
  const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'udrbd-uml-'));
  const tap = `tap${number}`;
  const [hostAddress, address] = [HOST_ADDRESS, `10.98.0.${number}`];
  namespace.addTap(tap);
  writeFileSync(join(folder, 'initrd'), kernel.initrd);
  const ram = options.ramDisks ?? { count: 2, sizeMiB: 64 };
  const words = [
    // A periodic tick: this kernel can lose a one-shot timer interrupt while it is busy, and then none is ever set again.
    `highres=off nohz=off mem=${options.memoryMiB ?? 512}M initrd=${folder}/initrd root=/dev/ram0 rw panic=-1`,
    // Every line on the console, and room for all of them in its own ring: 16 KiB are soon gone.
    'loglevel=8 log_buf_len=1M',
    `umid=peer uml_dir=${folder} con=null con0=null,fd:1 con1=fd:3,fd:3 ssl=null vec0:transport=tap,ifname=${tap},depth=64,gro=1`,
    `uml.modules=${kernel.modules} uml.stock=${kernel.stock} uml.name=${name} uml.address=${address}`,
    `uml.ramdisks=${ram.count} uml.ramdisk_kib=${ram.sizeMiB * 1024}`,
    ...(options.disks ?? []).map((file, index) => `ubd${String.fromCharCode(98 + index)}=${file}`),
  ];
  const argv = namespace.inside([kernel.program, ...words.join(' ').split(' ')]);
  const child = launch(argv, folder);
  const agent = new Agent(child.stdio[3] as Duplex);
  const log = (): string => readFileSync(join(folder, 'console.log'), 'utf8');
  let finalLog: string | undefined;

  const killAll = (): void => {
    try {
      process.kill(-child.pid!, 'SIGKILL');
    } catch {
      // already gone
    }
  };
  const leaveNothing = (): void => {
    killAll();
    rmSync(folder, { recursive: true, force: true });
  };
  process.on('exit', leaveNothing);
  const gone = new Promise<void>((settle) => {
    child.on('exit', () => {
      agent.fail(new Error(`${name} is gone; its last words:\n${log().slice(-500)}`));
      settle();
    });
  });
  const stop = async (): Promise<void> => {
    if (finalLog !== undefined) return;
    killAll();
    await gone;
    process.off('exit', leaveNothing);
    finalLog = log();
    rmSync(folder, { recursive: true, force: true });
    if (options.namespace === undefined) namespace.remove();
  };
  try {
    await agent.ready(BOOT_MS);
  } catch (error) {
    const text = log().slice(-2000);
    await stop();
    throw new Error(`${name} did not start: ${(error as Error).message}\n${text}`);
  }
  const exec: UmlPeer['exec'] = async (text, { timeoutMs = 120_000 } = {}) => {
    try {
      return await agent.exec(text, timeoutMs);
    } catch (error) {
      const look = 'cat /proc/uptime /proc/interrupts; grep -E "jiffies:|now at|next_event" /proc/timer_list; ps -o pid,ppid,stat,args';
      const found = await agent.exec(look, 30_000).catch(() => undefined);
      throw found === undefined ? error : new Error(`${(error as Error).message}\n${found.output}`);
    }
  };
  return {
    name,
    namespace,
    hostAddress,
    address,
    exec,
    run: async (text, each) => {
      const { status, output } = await exec(text, each);
      if (status !== 0) throw new Error(`${name}: \`${text}\` exited with ${status}:\n${output}`);
      return output.trim();
    },
    setLink: (state) => namespace.setLink(tap, state),
    console: () => finalLog ?? log(),
    stop,
  };
}

/** The kernel in a process group of its own, its log in console.log, its console 1 on fd 3. */
function launch(argv: string[], folder: string): ChildProcess {
  const log = openSync(join(folder, 'console.log'), 'w');
  const env = { ...process.env, TMPDIR: folder, HOME: folder };
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', ...argv], { detached: true, env, stdio: ['ignore', log, log, 'pipe'] });
  closeSync(log);
  return child;
}

interface Waiting {
  readonly settle: (result: ExecResult) => void;
  readonly fail: (error: Error) => void;
}

/** The host's end of the console: lines "ID BASE64" go, lines "ID STATUS BASE64" come. */
class Agent {
  private readonly waiting = new Map<number, Waiting>();
  private readonly started: Promise<void>;
  private readonly line: Duplex;
  private failed: Error | undefined;
  private next = 1;

  constructor(line: Duplex) {
    this.line = line;
    line.on('error', (error) => this.fail(error));
    this.started = new Promise((settle, fail) => {
      this.waiting.set(0, { settle: () => settle(), fail });
    });
    let partial = '';
    line.setEncoding('latin1').on('data', (chunk: string) => {
      const lines = (partial + chunk).split(/\r?\n/);
      partial = lines.pop() ?? '';
      for (const text of lines) this.answer(text);
    });
  }

  private answer(text: string): void {
    const [, id = '', status = '', data = ''] = text === 'ready' ? ['', '0', '0'] : (/^(\d+) (\d+) ?(\S*)$/.exec(text) ?? []);
    const waiting = this.waiting.get(Number(id));
    this.waiting.delete(Number(id));
    waiting?.settle({ status: Number(status), output: Buffer.from(data, 'base64').toString() });
  }

  fail(error: Error): void {
    this.failed = error;
    for (const { fail } of this.waiting.values()) fail(error);
    this.waiting.clear();
  }

  ready(timeoutMs: number): Promise<void> {
    return within(this.started, timeoutMs, 'no sign of life');
  }

  exec(text: string, timeoutMs: number): Promise<ExecResult> {
    if (this.failed !== undefined) return Promise.reject(this.failed);
    const id = this.next;
    this.next += 1;
    const result = new Promise<ExecResult>((settle, fail) => {
      this.waiting.set(id, { settle, fail });
    });
    // Nobody listens any more once the time is up.
    result.catch(() => {});
    this.send(id, text);
    const asking = setInterval(() => this.askAgain(id, text), ASK_AGAIN_MS);
    return within(result, timeoutMs, `\`${text}\` has not ended`).finally(() => clearInterval(asking));
  }

  private send(id: number, text: string): void {
    this.line.write(`${id} ${Buffer.from(text).toString('base64')}\n`);
  }

  /** The console loses a line now and then: the request's, which is sent again then, or the answer's, which is fetched. */
  private askAgain(id: number, text: string): void {
    const question = this.next;
    this.next += 1;
    const forget = (): void => void this.waiting.delete(question);
    this.waiting.set(question, {
      settle: ({ output }) => {
        const [what, status = ''] = output.trim().split(' ');
        const waiting = this.waiting.get(id);
        if (waiting === undefined || what === 'running') return;
        if (what === 'lost') return this.send(id, text);
        this.waiting.delete(id);
        waiting.settle({ status: Number(status), output: output.slice(output.indexOf('\n') + 1) });
      },
      fail: forget,
    });
    const file = `/run/agent/${id}`;
    this.send(
      question,
      `if [ -e ${file}.status ]; then echo "done $(cat ${file}.status)"; cat ${file}.out; elif [ -e ${file} ]; then echo running; else echo lost; fi`,
    );
  }
}
