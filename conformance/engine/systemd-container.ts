/**
 * systemd as process 1 of namespaces of its own, with our unit and nothing else: the file system is the host's, read-only but for one
 * folder; /run and the places of units and programs are empty. Needs root.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const SYSTEMD = '/usr/lib/systemd/systemd';
const UNIT = fileURLToPath(new URL('../../packages/engine/systemd/udrbd-engine.service', import.meta.url));
const SERVICE = 'udrbd-engine';

/** Why it cannot be had on this machine, or undefined. */
export function noSystemd(): string | undefined {
  if (process.getuid?.() !== 0) return 'not root';
  return existsSync(SYSTEMD) ? undefined : 'systemd is not installed';
}

export class SystemdContainer {
  readonly #child: ChildProcess;
  #output = '';
  readonly ended: Promise<unknown>;
  #init = 0;

  private constructor(child: ChildProcess) {
    this.#child = child;
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.#output += text;
      });
    }
    this.ended = new Promise((resolve) => child.once('exit', resolve));
  }

  /**
   * @param dir - the folder that stays writable
   * @param command - what `udrbd-engine` is to run
   */
  static async start(dir: string, command: string): Promise<SystemdContainer> {
    writeFileSync(
      `${dir}/init`,
      `#!/bin/sh -e
mount --make-rprivate /
mount --bind ${dir} ${dir}
mount -o remount,bind,ro /
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /etc/systemd/system
mount -t tmpfs tmpfs /usr/local/sbin
mount -t cgroup2 cgroup2 /sys/fs/cgroup
cp ${UNIT} /etc/systemd/system/
printf '#!/bin/sh\\nexec ${command} "$@"\\n' > /usr/local/sbin/udrbd-engine
chmod 755 /usr/local/sbin/udrbd-engine
mkdir /etc/systemd/system/${SERVICE}.service.d
printf '[Service]\\nEnvironment=UDRBD_FRONT_END=nbd UDRBD_DEV_DIR=/run/dev UDRBD_USERMODE_HELPER=disabled UDRBD_POOL_MIB=16\\n' \\
  > /etc/systemd/system/${SERVICE}.service.d/here.conf
printf '[Unit]\\nDefaultDependencies=no\\nConflicts=shutdown.target\\n' > /etc/systemd/system/here.target
container=test exec ${SYSTEMD} --system --unit=here.target --log-target=console --show-status=no
`,
      { mode: 0o755 },
    );
    const namespaces = ['--pid', '--fork', '--mount', '--cgroup', '--uts', '--ipc', '--kill-child'];
    const child = spawn('unshare', [...namespaces, `${dir}/init`], { stdio: ['ignore', 'pipe', 'pipe'] });
    const container = new SystemdContainer(child);
    for (let waited = 0; waited < 30_000; waited += 50) {
      await sleep(50);
      const init = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim();
      if (init !== '') container.#init = Number(init);
      if (container.#init > 0 && existsSync(container.path('/run/systemd/private'))) return container;
      if (child.exitCode !== null) break;
    }
    throw new Error(`systemd does not run:\n${container.#output}`);
  }

  /** A path of the container as seen from here. */
  path(inside: string): string {
    return `/proc/${this.#init}/root${inside}`;
  }

  /** Runs `systemctl`. @throws when it fails */
  async systemctl(...argv: readonly string[]): Promise<string> {
    const { stdout } = await run('nsenter', ['-t', String(this.#init), '-m', '-p', 'systemctl', ...argv]).catch((error: Error) => {
      throw new Error(`${error.message}\n${this.log}`);
    });
    return stdout.trim();
  }

  /** A property of the unit. */
  property(name: string): Promise<string> {
    return this.systemctl('show', '--value', '-p', name, SERVICE);
  }

  /** The main process of the unit by its number inside, and by its number here. */
  async mainPid(): Promise<{ inside: number; here: number }> {
    const inside = Number(await this.property('MainPID'));
    const { stdout } = await run('pgrep', ['--ns', String(this.#init), '--nslist', 'pid', '.']);
    for (const here of stdout.trim().split('\n')) {
      const status = existsSync(`/proc/${here}/status`) ? readFileSync(`/proc/${here}/status`, 'utf8') : '';
      if (new RegExp(`^NSpid:.*\\t${inside}$`, 'm').test(status)) return { inside, here: Number(here) };
    }
    throw new Error(`process ${inside} is not there\n${this.log}`);
  }

  /** What systemd said, and the engine. */
  get log(): string {
    const engine = this.path('/run/udrbd/engine.log');
    return this.#output + (existsSync(engine) ? readFileSync(engine, 'utf8') : '');
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }
}
