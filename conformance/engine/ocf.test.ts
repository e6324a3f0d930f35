/**
 * Resource agents for a cluster manager on two engines: our own, and the distribution's with nothing but its test for the file that
 * a kernel module makes satisfied. Needs root and loop devices.
 */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { stockUtils } from '../vm/packages.js';
import { freePort } from './free-port.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const OWN = join(ROOT, 'packages/drbdadm/ocf/linbit/drbd');
const NODES = ['alpha', 'beta'] as const;
/** Far from those that anything else uses. */
const FIRST_MINOR = 770;
type Node = (typeof NODES)[number];
const [SUCCESS, NOT_RUNNING, PROMOTED] = [0, 7, 8];

/** The few functions of a cluster manager that agents use, written for this test. */
const SHELL_FUNCTIONS = `
OCF_SUCCESS=0 OCF_ERR_GENERIC=1 OCF_ERR_ARGS=2 OCF_ERR_UNIMPLEMENTED=3 OCF_ERR_PERM=4 OCF_ERR_INSTALLED=5 OCF_ERR_CONFIGURED=6
OCF_NOT_RUNNING=7 OCF_RUNNING_MASTER=8 OCF_FAILED_MASTER=9
: "\${__OCF_ACTION:=$1}"
ocf_log() { echo "$@" >&2; }
ocf_is_true() { case "$1" in yes|true|1|YES|TRUE|True|ja|on|ON) return 0 ;; *) return 1 ;; esac; }
have_binary() { command -v "\${1%% *}" >/dev/null 2>&1; }
check_binary() { have_binary "$1" || exit $OCF_ERR_INSTALLED; }
ocf_is_probe() { [ "$__OCF_ACTION" = monitor ] && [ "$OCF_RESKEY_CRM_meta_interval" = 0 ]; }
ocf_is_ms() { true; }
set_logtag() { true; }
`;

/** Keeps the promotion score in a file, as the cluster manager keeps it in its own. */
const SCORE_TOOL = `#!/bin/sh
for word; do
  case $last in -v) echo "$word" >"$SCORE_FILE" ;; esac
  case $word in -D) rm -f "$SCORE_FILE" ;; -G) cat "$SCORE_FILE" 2>/dev/null || exit 6 ;; esac
  last=$word
done
`;

function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): { status: number; output: string } {
  const { status, stdout, stderr } = spawnSync(command, args, { env, encoding: 'utf8', timeout: 60_000 });
  return { status: status ?? -1, output: `${stdout}${stderr}` };
}

const canLoop = process.getuid?.() === 0 && run('losetup', ['--find']).status === 0;

/** Two nodes with a disk each, and an agent that is asked to do things on them. */
class Cluster {
  readonly #work = mkdtempSync(join(tmpdir(), 'udrbd-ocf-'));
  readonly #config = join(this.#work, 'drbd.conf');
  readonly #disks = new Map<Node, string>();
  readonly #links: string[] = [];
  agent = OWN;

  async setUp(): Promise<void> {
    mkdirSync(join(this.#work, 'bin'));
    mkdirSync(join(this.#work, 'lib'));
    for (const name of ['crm_master', 'crm_attribute']) this.#program(join(this.#work, 'bin', name), SCORE_TOOL);
    writeFileSync(join(this.#work, 'lib/ocf-shellfuncs'), SHELL_FUNCTIONS);
    for (const tool of ['drbdadm', 'drbdsetup', 'drbdmeta'])
      this.#program(join(this.#work, 'bin', tool), `#!/bin/sh\nexec ${ROOT}node_modules/.bin/${tool} "$@"\n`);
    let text = 'resource r0 {\n  net { protocol C; }\n';
    for (const [id, node] of NODES.entries()) {
      const image = join(this.#work, `${node}.img`);
      writeFileSync(image, '');
      truncateSync(image, 32 * 2 ** 20);
      const disk = run('losetup', ['--find', '--show', image]).output.trim();
      this.#disks.set(node, disk);
      text += `  on ${node} { node-id ${id}; device minor ${FIRST_MINOR + id}; disk ${disk}; meta-disk internal; address 127.0.0.1:${await freePort()}; }\n`;
    }
    writeFileSync(this.#config, `${text}}\n`);
  }

  #program(path: string, text: string): void {
    writeFileSync(path, text);
    chmodSync(path, 0o755);
  }

  /** Stands for the device that ublk would bring: the stock agent waits for it to be there, and no more. */
  #deviceOf(id: number): string {
    return `/dev/drbd${FIRST_MINOR + id}`;
  }

  /** The distribution's agent, which looks for the engine's file instead of the kernel's. */
  useStock(): void {
    for (const [id, node] of NODES.entries()) {
      if (lstatSync(this.#deviceOf(id), { throwIfNoEntry: false }) === undefined) symlinkSync(this.#disks.get(node)!, this.#deviceOf(id));
      this.#links.push(this.#deviceOf(id));
    }
    const folder = join(stockUtils(), 'usr/lib/ocf/resource.d/linbit');
    const copy = join(this.#work, 'drbd');
    copyFileSync(join(folder, 'drbd.shellfuncs.sh'), join(this.#work, 'drbd.shellfuncs.sh'));
    this.#program(copy, readFileSync(join(folder, 'drbd'), 'utf8').replaceAll('test -f /proc/drbd', `test -f ${this.#config}`));
    this.agent = copy;
  }

  env(node: Node): NodeJS.ProcessEnv {
    const folder = join(this.#work, node);
    mkdirSync(join(folder, 'lock'), { recursive: true });
    return {
      PATH: `${this.#work}/bin:${process.env.PATH}:/usr/sbin:/sbin`,
      LC_ALL: 'C',
      UDRBD_NODE: node,
      UDRBD_RUN_DIR: join(folder, 'run'),
      UDRBD_STATE_DIR: join(folder, 'state'),
      UDRBD_LOCK_DIR: join(folder, 'lock'),
      OCF_ROOT: this.#work,
      OCF_FUNCTIONS_DIR: join(this.#work, 'lib'),
      HA_SBIN_DIR: join(this.#work, 'bin'),
      HA_RSCTMP: this.#work,
      SCORE_FILE: join(folder, 'score'),
      HOSTNAME: node,
      OCF_RESOURCE_INSTANCE: `drbd-${node}`,
      OCF_RESKEY_drbd_resource: 'r0',
      OCF_RESKEY_drbdconf: this.#config,
      OCF_RESKEY_CRM_meta_notify: 'true',
      OCF_RESKEY_CRM_meta_master_max: '1',
      OCF_RESKEY_CRM_meta_master_node_max: '1',
      OCF_RESKEY_CRM_meta_clone_max: '2',
      OCF_RESKEY_CRM_meta_clone_node_max: '1',
      OCF_RESKEY_CRM_meta_interval: '10000',
      OCF_RESKEY_CRM_meta_timeout: '60000',
    };
  }

  do(node: Node, action: string, extra: NodeJS.ProcessEnv = {}): { status: number; output: string } {
    return run(this.agent, [action], { ...this.env(node), ...extra });
  }

  adm(node: Node, ...words: string[]): { status: number; output: string } {
    return run('drbdadm', ['-c', this.#config, ...words], this.env(node));
  }

  score(node: Node): number | undefined {
    const file = join(this.#work, node, 'score');
    return existsSync(file) ? Number(readFileSync(file, 'utf8')) : undefined;
  }

  tearDown(): void {
    for (const node of NODES) {
      run('drbdsetup', ['down', 'r0'], this.env(node));
      const lock = join(this.#work, node, 'run/engine.lock');
      if (existsSync(lock)) run('kill', [readFileSync(lock, 'utf8').trim()]);
      const disk = this.#disks.get(node);
      for (let i = 0; disk !== undefined && i < 50 && run('losetup', ['-d', disk]).status !== 0; i++) run('sleep', ['0.1']);
    }
    for (const link of this.#links) rmSync(link, { force: true });
    rmSync(this.#work, { recursive: true, force: true });
  }
}

for (const whose of ['own', 'stock'] as const) {
  t.test(`${whose} agent`, { skip: canLoop ? false : 'needs root and loop devices', timeout: 300_000 }, async (t) => {
    const cluster = new Cluster();
    t.teardown(() => cluster.tearDown());
    await cluster.setUp();
    if (whose === 'stock') cluster.useStock();
    const expect = (node: Node, action: string, status: number, extra: NodeJS.ProcessEnv = {}) => {
      const done = cluster.do(node, action, extra);
      t.equal(done.status, status, `${node}: ${action}${done.status === status ? '' : `\n${done.output}`}`);
    };
    const notify = (type: string, operation: string) => {
      for (const node of NODES)
        expect(node, 'notify', SUCCESS, {
          OCF_RESKEY_CRM_meta_notify_type: type,
          OCF_RESKEY_CRM_meta_notify_operation: operation,
          OCF_RESKEY_CRM_meta_notify_start_uname: 'alpha beta',
          OCF_RESKEY_CRM_meta_notify_promote_uname: 'alpha',
          OCF_RESKEY_CRM_meta_notify_slave_uname: 'alpha beta',
          OCF_RESKEY_CRM_meta_notify_active_uname: 'alpha beta',
        });
    };
    t.match(cluster.do('alpha', 'meta-data').output, /<parameter name="drbd_resource"[\s\S]*<\/resource-agent>/);
    for (const node of NODES) t.equal(cluster.adm(node, 'create-md', '--force', 'r0').status, 0, `${node}: create-md`);
    expect('alpha', 'validate-all', SUCCESS);
    for (const node of NODES) expect(node, 'monitor', NOT_RUNNING, { OCF_RESKEY_CRM_meta_interval: '0' });
    // The first node does not wait for the second one, which starts only behind it.
    for (const node of NODES) expect(node, 'start', SUCCESS, { OCF_RESKEY_wfc_timeout: node === 'alpha' ? '1' : '20' });
    for (const node of NODES) expect(node, 'monitor', SUCCESS);
    t.equal(cluster.adm('alpha', '--', '--clear-bitmap', 'new-current-uuid', 'r0/0').status, 0, 'both disks count as equal');
    notify('post', 'start');
    expect('alpha', 'monitor', SUCCESS);
    t.ok((cluster.score('alpha') ?? 0) >= 1000, `a good disk makes a high score: ${cluster.score('alpha')}`);
    notify('pre', 'promote');
    expect('alpha', 'promote', SUCCESS);
    notify('post', 'promote');
    expect('alpha', 'monitor', PROMOTED);
    expect('beta', 'monitor', SUCCESS);
    notify('pre', 'demote');
    expect('alpha', 'demote', SUCCESS);
    expect('alpha', 'monitor', SUCCESS);
    expect('beta', 'promote', SUCCESS);
    expect('beta', 'monitor', PROMOTED);
    for (const node of NODES) expect(node, 'stop', SUCCESS);
    for (const node of NODES) expect(node, 'monitor', NOT_RUNNING, { OCF_RESKEY_CRM_meta_interval: '0' });
    expect('alpha', 'stop', SUCCESS);
    t.equal(cluster.score('alpha'), undefined, 'no score is left behind');
  });
}

t.test('our agent has the parameters of the distribution’s', async (t) => {
  const folder = join(stockUtils(), 'usr/lib/ocf/resource.d/linbit');
  const names = (text: string) => [...text.matchAll(/<parameter name="([a-z_]+)"/g)].map((m) => m[1]!).sort();
  t.strictSame(names(run(OWN, ['meta-data']).output), names(readFileSync(join(folder, 'drbd'), 'utf8')));
});
