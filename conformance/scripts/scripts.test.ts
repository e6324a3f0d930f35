/**
 * The scripts of the distribution's drbd-utils, unchanged, on our commands: init script, block-drbd, crm-fence-peer.9.sh and
 * crm-unfence-peer.9.sh, notify.sh, bash completion, and what the udev rules ask for. Needs root and loop devices.
 */
import { copyFileSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { stockUtils } from '../vm/packages.js';
import { Hosts, NODES, type Node, obstacle, ROOT, run } from './hosts.js';

const STOCK = stockUtils();

/** As much of a cluster manager as the fencing script uses: its configuration is a file, `$CIB`, of one tag per line. `mail` and `logger` write to files. */
const CLUSTER_TOOLS = {
  cibadmin: `
xml=; for word; do [ "$last" = -X ] && xml=$word; last=$word; done
id=$(printf '%s' "$xml" | sed -n '1s/.* id="\\([^"]*\\)".*/\\1/p')
file=\${CIB_file:-$CIB}
without() { sed "/<rsc_location .*id=\\"$id\\"/,/<\\/rsc_location>/d" "$file" >"$file.new"; }
case "$*" in
  -Q*) cat "$file" ;;
  -D*) without; mv "$file.new" "$file" ;;
  *--patch*) cat >"$CIB.new"; mv "$CIB.new" "$CIB" ;;
  --modify*|--replace*) without; printf '%s\\n' "$xml" >"$file.xml"; sed "/<constraints>/r $file.xml" "$file.new" >"$file" ;;
  *) exit 64 ;;
esac
`,
  crm_diff: 'cat "$4"',
  crm_mon: 'echo \'<current_dc present="true" with_quorum="true"/>\'',
  crm_node: 'echo 1',
  crmadmin: 'echo "Controller on $4 in state S_NOT_DC: ok"',
  logger: 'cat >>"$LOGGED"',
  mail: '{ echo "to $3: $2"; cat; } >"$MAILED.new"; mv "$MAILED.new" "$MAILED"',
};

const CIB = `<cib crm_feature_set="3.16.2" admin_epoch="0" epoch="7" num_updates="1" have-quorum="1">
<configuration>
<crm_config>
<cluster_property_set id="cib-bootstrap-options">
<nvpair id="stonith" name="stonith-enabled" value="true"/>
</cluster_property_set>
</crm_config>
<resources>
<clone id="ms-r0">
<primitive id="p-r0" class="ocf" provider="linbit" type="drbd">
<instance_attributes id="p-r0-attributes">
<nvpair id="p-r0-resource" name="drbd_resource" value="r0"/>
</instance_attributes>
</primitive>
</clone>
</resources>
<constraints>
</constraints>
</configuration>
<status>
<node_state id="1" uname="alpha" in_ccm="true" crmd="online" join="member" expected="member"/>
<node_state id="2" uname="beta" in_ccm="true" crmd="online" join="member" expected="member"/>
</status>
</cib>
`;

/** The functions of Xen's own block-common.sh that block-drbd calls; what xenstore says of the device comes from the environment. */
const BLOCK_COMMON = `
command=$1 XENBUS_PATH=backend/vbd/1/51712 XENBUS_BASE_PATH=backend XENBUS_TYPE=vbd
xenstore_read() { case $1 in */params) echo drbd:r0 ;; */mode) echo w ;; */frontend-id) echo 1 ;; *) return 1 ;; esac; }
xenstore_read_default() { case $1 in */type) echo drbd ;; *) echo "$2" ;; esac; }
xenstore-list() { :; }
device_major_minor() { stat -L -c %t:%T "$1"; }
claim_lock() { :; }
release_lock() { :; }
write_dev() { echo "write_dev $1"; }
success() { echo success; }
ebusy() { echo "ebusy $*" >&2; exit 1; }
`;

t.test('scripts', { skip: obstacle(), timeout: 300_000 }, async (t) => {
  const hosts = new Hosts();
  t.teardown(() => hosts.tearDown());
  const { work } = hosts;
  const cib = join(work, 'cib.xml');
  const logged = join(work, 'logged');
  const mailed = join(work, 'mailed');
  writeFileSync(cib, CIB);
  writeFileSync(logged, '');
  const fencing = join(work, 'fencing');
  mkdirSync(fencing);
  for (const name of ['crm-fence-peer.9.sh', 'crm-unfence-peer.9.sh', 'notify-split-brain.sh', 'notify-out-of-sync.sh'])
    symlinkSync(join(STOCK, 'usr/lib/drbd', name), join(fencing, name));
  symlinkSync(join(STOCK, 'usr/lib/ocf/resource.d/linbit/drbd.shellfuncs.sh'), join(fencing, 'drbd.shellfuncs.sh'));
  // A handler has the path of the system only, as one that the kernel calls.
  const path = `PATH=${work}/bin:$PATH`;
  await hosts.setUp(`  net { protocol C; fencing resource-and-stonith; timeout 20; ping-timeout 10; ping-int 2; }
  startup { wfc-timeout 1; degr-wfc-timeout 1; outdated-wfc-timeout 1; }
  handlers {
    fence-peer "${path} ${fencing}/crm-fence-peer.9.sh --lock-dir ${work}/locks --timeout 5 --dc-timeout 5";
    unfence-peer "${path} ${fencing}/crm-unfence-peer.9.sh --lock-dir ${work}/locks";
    split-brain "${path} ${fencing}/notify-split-brain.sh operator";
    out-of-sync "${path} ${fencing}/notify-out-of-sync.sh operator";
  }`);
  for (const [name, text] of Object.entries(CLUSTER_TOOLS))
    hosts.program(`bin/${name}`, `#!/bin/sh\nCIB=${cib} LOGGED=${logged} MAILED=${mailed}\n${text}\n`);

  // /etc/default is private to the script: ours, and where the commands of this test are.
  mkdirSync(join(work, 'default'));
  copyFileSync(join(ROOT, 'packages/drbdadm/init/default-drbd'), join(work, 'default/shipped'));
  writeFileSync(join(work, 'default/drbd'), `PATH="${work}/etc-bin:${work}/bin:$PATH"\n. /etc/default/shipped\n`);
  const init = (node: Node, action: string) =>
    run(
      'unshare',
      ['--mount', 'sh', '-c', `mount --bind ${work}/default /etc/default && exec ${STOCK}/etc/init.d/drbd ${action}`],
      hosts.etcEnv(node),
    );
  const isUp = (node: Node) => hosts.setup(node, 'status', 'r0').status === 0;

  await t.test('init script: start, status', async (t) => {
    for (const node of NODES) t.equal(hosts.adm(node, 'create-md', '--force', 'r0').status, 0, `${node}: create-md`);
    t.equal(init('alpha', 'status').status, 3, 'not running');
    for (const node of NODES) {
      const done = init(node, 'start');
      t.equal(done.status, 0, `${node}: start\n${done.stdout}${done.stderr}`);
      t.ok(isUp(node), `${node} is up`);
    }
    await hosts.until('connecting', () => hosts.adm('alpha', 'cstate', 'r0').stdout === 'Connected\n');
    t.equal(hosts.adm('alpha', '--', '--clear-bitmap', 'new-current-uuid', 'r0/0').status, 0, 'both disks count as equal');
    await hosts.until('UpToDate', () => hosts.adm('alpha', 'dstate', 'r0').stdout === 'UpToDate/UpToDate\n');
    const status = init('alpha', 'status');
    t.equal(status.status, 0, status.stderr);
    t.match(status.stdout, /^drbd driver loaded OK; device status:\n/);
    // The name comes from `drbdadm sh-status`, which drbd-utils 9 does not have.
    t.match(status.stdout, /^780:\?\?not-found\?\?\s+Connected\s+Secondary\/Secondary\s+UpToDate\/UpToDate/m);
    t.equal(init('alpha', 'reload').status, 0);
  });

  await t.test('block-drbd', async (t) => {
    const folder = join(work, 'xen');
    mkdirSync(folder);
    symlinkSync(join(STOCK, 'etc/xen/scripts/block-drbd'), join(folder, 'block-drbd'));
    writeFileSync(join(folder, 'block-common.sh'), BLOCK_COMMON);
    const block = (action: string) => run(join(folder, 'block-drbd'), [action], hosts.etcEnv('alpha'));
    t.match(block('add'), { status: 0, stdout: 'write_dev /dev/drbd780\n' });
    t.equal(hosts.adm('alpha', 'role', 'r0').stdout, 'Primary\n');
    t.match(block('add'), { status: 0 }, 'once more');
    t.equal(block('remove').status, 0);
    t.equal(hosts.adm('alpha', 'role', 'r0').stdout, 'Secondary\n');
  });

  await t.test('bash completion', async (t) => {
    const complete = (...words: string[]) =>
      run(
        'bash',
        [
          '-c',
          `source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; _drbdadm; printf '%s\\n' "\${COMPREPLY[@]}"`,
          join(STOCK, 'usr/share/bash-completion/completions/drbdadm'),
          ...words,
        ],
        hosts.etcEnv('alpha'),
      )
        .stdout.trim()
        .split('\n');
    t.strictSame(complete('drbdadm', 'prim'), ['primary']);
    t.strictSame(complete('drbdadm', 'up', ''), ['r0', 'all']);
    t.strictSame(complete('drbdadm', 'primary', ''), ['r0'], 'a Secondary');
    t.strictSame(complete('drbdadm', 'secondary', ''), [''], 'no Primary');
    t.strictSame(complete('drbdadm', 'detach', ''), ['r0']);
    t.strictSame(complete('drbdadm', 'attach', ''), ['']);
    t.strictSame(complete('drbdadm', 'disconnect', ''), ['r0']);
    t.strictSame(complete('drbdadm', 'connect', ''), ['']);
    t.strictSame(complete('drbdadm', 'primary', 'r0', '--f'), ['--force']);
    t.ok(complete('drbdadm', 'net-options', 'r0', '--').includes('--ping-timeout'));
  });

  await t.test('udev rules', async (t) => {
    for (const node of NODES) {
      // As the rules call it: no -c, from the file that the minor was configured from.
      const ours = run('drbdadm', ['sh-udev', `minor-${hosts.minor(node)}`], hosts.env(node));
      const device = `DEVICE=drbd${hosts.minor(node)}\n`;
      const names = `SYMLINK=drbd/by-res/r0\nSYMLINK_BY_RES=drbd/by-res/r0\nSYMLINK_BY_DISK=drbd/by-disk/${hosts.disk(node).slice(5)}\n`;
      t.strictSame(ours, { status: 0, stdout: device + names, stderr: '' });
    }
  });

  await t.test('crm-fence-peer.9.sh, crm-unfence-peer.9.sh', async (t) => {
    const constraint = () => /<rsc_location [\s\S]*<\/rsc_location>/.exec(readFileSync(cib, 'utf8'))?.[0];
    t.equal(hosts.adm('alpha', 'primary', 'r0').status, 0);
    hosts.crash('beta');
    await hosts.until('fencing', () => hosts.adm('alpha', 'dstate', 'r0').stdout === 'UpToDate/Outdated\n');
    t.match(hosts.log('alpha'), 'fence-peer helper returned 4 (peer was fenced)');
    t.equal(
      constraint()?.replaceAll(/\n\s*/g, ''),
      '<rsc_location rsc="ms-r0" id="drbd-fence-by-handler-r0-ms-r0">' +
        '<rule role="Master" score="-INFINITY" id="drbd-fence-by-handler-r0-rule-ms-r0">' +
        '<expression attribute="#uname" operation="ne" value="alpha" id="drbd-fence-by-handler-r0-expr-0-ms-r0"/></rule></rsc_location>',
    );
    const said = readFileSync(logged, 'utf8');
    t.match(said, "INFO peers are reachable, my disk is UpToDate: placed constraint 'drbd-fence-by-handler-r0-ms-r0'");
    t.notMatch(said, 'WARNING');
    t.equal(hosts.adm('beta', 'up', 'r0').status, 0);
    await hosts.until('the way back', () => constraint() === undefined);
    t.equal(hosts.adm('alpha', 'dstate', 'r0').stdout, 'UpToDate/UpToDate\n');
    await hosts.until('its message', () =>
      readFileSync(logged, 'utf8').includes("INFO Removed constraint 'drbd-fence-by-handler-r0-ms-r0'"),
    );
    t.notMatch(readFileSync(logged, 'utf8'), 'WARNING');
  });

  await t.test('notify.sh', async (t) => {
    const mail = async (subject: string) => {
      await hosts.until(`mail: ${subject}`, () => existsSync(mailed) && readFileSync(mailed, 'utf8').startsWith(`to operator: ${subject}`));
      return readFileSync(mailed, 'utf8');
    };
    const done = run('drbdadm', ['out-of-sync', 'minor-780'], { ...hosts.env('alpha'), DRBD_PEER_NODE_ID: '1' });
    t.equal(done.status, 0, done.stderr);
    t.match(await mail('DRBD resource r0/0 (drbd780) has out-of-sync blocks'), 'between alpha and peer node ID 1 (beta)');
    for (const node of NODES) {
      t.equal(hosts.adm(node, 'disconnect', 'r0').status, 0);
      t.equal(hosts.setup(node, 'net-options', 'r0', String(1 - NODES.indexOf(node)), '--fencing=dont-care').status, 0);
    }
    for (const node of NODES) t.equal(hosts.adm(node, 'new-current-uuid', 'r0/0').status, 0, `${node} has data of its own`);
    for (const node of NODES) t.equal(hosts.setup(node, 'connect', 'r0', String(1 - NODES.indexOf(node))).status, 0);
    t.match(await mail('DRBD split brain on resource r0'), 'DRBD has detected split brain on resource r0');
  });

  await t.test('init script: stop', async (t) => {
    for (const node of NODES) {
      const done = init(node, 'stop');
      t.equal(done.status, 0, `${done.stdout}${done.stderr}`);
      t.notOk(isUp(node), `${node} is down`);
    }
  });
});

/** One volume, several, one without a disk here, a file of its own as a disk. */
const UDEV = `
resource r0 {
  on alpha { node-id 0; device minor 0; disk /dev/sda1; meta-disk internal; address 127.0.0.1:7001; }
  on beta { node-id 1; device minor 1; disk /dev/disk/by-id/x#1; meta-disk internal; address 127.0.0.1:7002; }
}
resource several {
  volume 0 { device minor 5; disk /dev/vg/home; meta-disk internal; }
  volume 7 { device minor 6; disk "/dev/mapper/vg-a--b"; meta-disk /dev/sdc[0]; }
  volume 8 { device minor 8; disk none; meta-disk internal; }
  on alpha { node-id 0; address 127.0.0.1:7003; }
  on beta { node-id 1; address 127.0.0.1:7004; }
}
resource odd-one.x {
  device minor 12; disk /srv/image; meta-disk internal;
  on alpha { node-id 0; address 127.0.0.1:7013; }
  on beta { node-id 1; address 127.0.0.1:7014; }
}
`;

t.test('what the udev rules ask drbdadm', async (t) => {
  t.match(readFileSync(join(STOCK, 'lib/udev/rules.d/65-drbd.rules'), 'utf8'), 'IMPORT{program}="/sbin/drbdadm sh-udev minor-%m"');
  const folder = t.testdir({
    plain: `global { usage-count no; }${UDEV}`,
    numbered: `global { usage-count no; udev-always-use-vnr; }${UDEV}`,
  });
  for (const config of ['plain', 'numbered']) {
    for (const minor of [0, 1, 5, 6, 8, 12, 99]) {
      for (const node of NODES) {
        const [stock, ours] = [join(STOCK, 'sbin/drbdadm'), join(ROOT, 'node_modules/.bin/drbdadm')].map((program) =>
          run(program, ['-c', join(folder, config), 'sh-udev', `minor-${minor}`], {
            PATH: process.env.PATH,
            __DRBD_NODE__: node,
            DRBD_DRIVER_VERSION_OVERRIDE: '9.2.0',
          }),
        );
        t.strictSame(ours, stock, `${config}, minor ${minor} on ${node}`);
      }
    }
  }
});
