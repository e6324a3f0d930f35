/**
 * docs/migrating.md, followed to the letter: two kernels become two of ours, one after the other, and kernels again. The commands are
 * taken from the guide as it prints them, section by section; a command that is not known here fails.
 */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, ftruncateSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { bundleEngine } from '../engine/engine-process.js';
import { eventually } from '../engine/eventually.js';
import { readImage } from '../engine/images.js';
import { NbdClient } from '../engine/nbd-client.js';
import { type KernelState, parseProcDrbd } from '../uml/kernel-resource.js';
import { createNamespace, type Namespace } from '../uml/namespace.js';
import { startUmlPeer, type UmlPeer } from '../uml/peer.js';
import { bundleDrbdadm, ourDrbdadm } from './our-drbdadm.js';
import { OurNode } from './our-node.js';

const DISK_MIB = 24;
const PORT = 7789;
const CHUNK = 65_536;

type Name = 'alpha' | 'beta';
const NAMES = ['alpha', 'beta'] as const;
const otherThan = (name: Name): Name => (name === 'alpha' ? 'beta' : 'alpha');

interface Step {
  readonly node: Name;
  readonly command: string;
  /** What stands below the command: its output, and what is typed where the text ends with the answer. */
  readonly output: readonly string[];
}

/** The commands of a section of the guide, in order. */
function stepsOf(guide: string, section: string): Step[] {
  const text = guide.split(/^## /m).find((part) => part.startsWith(`${section}\n`));
  if (text === undefined) throw new Error(`the guide has no section "${section}"`);
  const steps: { node: Name; command: string; output: string[] }[] = [];
  for (const [, block] of text.matchAll(/^```\n(.*?)^```$/gms)) {
    for (const line of block!.trimEnd().split('\n')) {
      const [, node, command] = /^(alpha|beta)#\s+(.*)$/.exec(line) ?? [];
      if (node === undefined) steps.at(-1)!.output.push(line);
      else steps.push({ node: node as Name, command: command!.replace(/\s+#.*/, '').trim(), output: [] });
    }
  }
  return steps;
}

interface Programs {
  readonly engine: string;
  readonly drbdadm: string;
}

/** A host of the cluster: a kernel with its DRBD, or our engine with the same address and the same disk. */
class Host {
  readonly name: Name;
  readonly address: string;
  readonly disk: string;
  readonly #number: number;
  readonly #namespace: Namespace;
  readonly #folder: string;
  readonly #programs: Programs;
  kernel: UmlPeer | undefined;
  ours: OurNode | undefined;
  #mounted: NbdClient | undefined;

  constructor(name: Name, namespace: Namespace, folder: string, programs: Programs) {
    this.name = name;
    this.#number = NAMES.indexOf(name) + 1;
    this.address = `10.98.0.${this.#number}`;
    this.#namespace = namespace;
    this.#folder = join(folder, name);
    this.#programs = programs;
    mkdirSync(this.#folder);
    this.disk = join(this.#folder, 'disk.img');
    const fd = openSync(this.disk, 'w');
    ftruncateSync(fd, DISK_MIB << 20);
    closeSync(fd);
  }

  /** The configuration of the cluster, with the name that the disk has here. */
  private get configuration(): string {
    const disk = this.kernel === undefined ? this.disk : '/dev/ubdb';
    const on = (name: Name): string => `
  on ${name} {
    address 10.98.0.${NAMES.indexOf(name) + 1}:${PORT};
    volume 0 { device /dev/drbd0; disk ${name === this.name ? disk : '/dev/vg/data'}; meta-disk internal; }
  }`;
    return `global { usage-count no; }
resource data {
  net { protocol C; ping-timeout 30; }
  disk { c-plan-ahead 0; resync-rate 100M; }${NAMES.map(on).join('')}
}
`;
  }

  async boot(): Promise<void> {
    const [namespace, number, name] = [this.#namespace, this.#number, this.name];
    this.kernel = await startUmlPeer({ namespace, number, name, ramDisks: { count: 1, sizeMiB: 1 }, disks: [this.disk] });
    const text = Buffer.from(this.configuration).toString('base64');
    await this.kernel.run(`mkdir -p /srv/data /dev/pts; mount -t devpts devpts /dev/pts; echo ${text} | base64 -d > /etc/drbd.conf`);
  }

  /** Ours is installed. */
  async install(): Promise<void> {
    await this.kernel!.stop();
    this.kernel = undefined;
    this.#namespace.addAddress(this.address);
    writeFileSync(join(this.#folder, 'drbd.conf'), this.configuration);
    this.ours = new OurNode(this.#programs.engine, this.#namespace, join(this.#folder, 'run'));
    await this.ours.start();
  }

  async uninstall(): Promise<void> {
    await this.ours!.stop('SIGTERM');
    this.ours = undefined;
    execFileSync('ip', ['-n', this.#namespace.name, 'address', 'delete', `${this.address}/24`, 'dev', 'bridge']);
    await this.boot();
  }

  /** @param typed - what is typed when it asks */
  drbdadm(words: string, typed: readonly string[] = []): Promise<string> {
    if (this.kernel !== undefined) {
      if (typed.length === 0) return this.kernel.run(`drbdadm ${words} 2>&1`);
      // It asks on a terminal only.
      return this.kernel.run(`printf '${typed.map((line) => `${line}\\n`).join('')}' | /usr/bin/script -qec 'drbdadm ${words}' /dev/null`);
    }
    const configuration = join(this.#folder, 'drbd.conf');
    const at = { program: this.#programs.drbdadm, ours: this.ours!, configuration, name: this.name, folder: this.#folder };
    return ourDrbdadm(at, words.split(' '), typed);
  }

  async state(): Promise<KernelState | undefined> {
    const text =
      this.kernel === undefined ? readFileSync(join(this.ours!.runDir, 'proc/drbd'), 'utf8') : await this.kernel.run('cat /proc/drbd');
    return parseProcDrbd(`${text}\n`, 0);
  }

  /** KiB that it has sent in resyncs so far, as its log tells. */
  resyncsKib(): number[] {
    const log = this.kernel === undefined ? this.ours!.log : this.kernel.console();
    return [...log.matchAll(/Began resync as SyncSource \(will sync (\d+) KB/g)].map((match) => Number(match[1]));
  }

  // The front end of ours is NBD here, which cannot be mounted: whoever holds it open stands for a mount, and e2fsprogs for the files.

  async mount(): Promise<void> {
    if (this.kernel === undefined) this.#mounted = await NbdClient.open(`${this.ours!.runDir}/nbd/0.sock`);
    else await this.kernel.run('mount /dev/drbd0 /srv/data');
  }

  async umount(): Promise<void> {
    if (this.kernel !== undefined) return void (await this.kernel.run('umount /srv/data'));
    await this.#mounted!.close();
    this.#mounted = undefined;
  }

  private async image(): Promise<Buffer> {
    const parts: Buffer[] = [];
    const { sizeBytes } = this.#mounted!;
    for (let at = 0; at < sizeBytes; at += CHUNK) parts.push(await this.#mounted!.read(at, Math.min(CHUNK, sizeBytes - at)));
    return Buffer.concat(parts);
  }

  async writeFile(name: string, content: Buffer): Promise<void> {
    const source = join(this.#folder, 'source');
    writeFileSync(source, content);
    if (this.kernel !== undefined) {
      // The guest sees the host's files.
      await this.kernel.run(`cp /host${source} /srv/data/${name} && sync`);
      return;
    }
    const [before, file] = [await this.image(), join(this.#folder, 'fs.img')];
    writeFileSync(file, before);
    execFileSync('debugfs', ['-w', '-f', '-', file], { input: `rm ${name}\nwrite ${source} ${name}\n`, stdio: 'pipe' });
    const after = readFileSync(file);
    for (let at = 0; at < after.length; at += CHUNK) {
      const part = after.subarray(at, at + CHUNK);
      if (!part.equals(before.subarray(at, at + CHUNK))) await this.#mounted!.write(at, part);
    }
    await this.#mounted!.flush();
  }

  async readFile(name: string): Promise<Buffer> {
    if (this.kernel !== undefined) return Buffer.from(await this.kernel.run(`base64 -w 0 /srv/data/${name}`), 'base64');
    const [file, out] = [join(this.#folder, 'fs.img'), join(this.#folder, 'out')];
    writeFileSync(file, await this.image());
    execFileSync('debugfs', ['-R', `dump ${name} ${out}`, file], { stdio: 'pipe' });
    return readFileSync(out);
  }

  async stop(): Promise<void> {
    await Promise.allSettled([this.ours?.stop(), this.kernel?.stop()]);
  }
}

class Cluster {
  readonly hosts: Readonly<Record<Name, Host>>;
  readonly #guide: string;
  /** What a file on the file system holds. */
  #content = Buffer.alloc(0);
  readonly #followed = new Set<string>();

  constructor(guide: string, hosts: Cluster['hosts']) {
    this.#guide = guide;
    this.hosts = hosts;
  }

  /**
   * Every command of the section, on the other node instead when they are exchanged.
   * @param whenDown - what happens once the resource is down there
   */
  async follow(t: Test, section: string, exchanged: boolean, whenDown?: () => Promise<void>): Promise<void> {
    this.#followed.add(section);
    for (const { node, command, output } of stepsOf(this.#guide, section)) {
      const name = exchanged ? otherThan(node) : node;
      const said = await this.step(this.hosts[name], command, output);
      for (const line of output) t.ok(said.includes(line.replace(/ yes$/, '')), `${name}# ${command}: ${line}`);
      if (output.length === 0) t.pass(`${name}# ${command}`);
      if (command === 'drbdadm down data') await whenDown?.();
    }
  }

  private async step(host: Host, command: string, output: readonly string[]): Promise<string> {
    const typed = output.filter((line) => line.endsWith(' yes')).map(() => 'yes');
    const [, words] = /^drbdadm (\S+ data)$/.exec(command) ?? [];
    if (words !== undefined) return host.drbdadm(words, typed);
    switch (command) {
      case 'rmmod drbd':
        await host.kernel!.run(command);
        // From here on the disk is ours.
        await host.install();
        return '';
      case 'pkill udrbd-engine':
        await host.uninstall();
        return '';
      case 'modprobe drbd':
        return host.kernel!.run(command);
      case 'umount /srv/data':
        await host.umount();
        return '';
      case 'mount /dev/drbd0 /srv/data':
        await host.mount();
        return '';
      default:
        throw new Error(`the guide prints a command that is not tried: ${command}`);
    }
  }

  /** Sections that print commands, and were not followed. */
  get missed(): string[] {
    return [...this.#guide.matchAll(/^## (.*)$/gm)]
      .map((match) => match[1]!)
      .filter((section) => stepsOf(this.#guide, section).length > 0 && !this.#followed.has(section));
  }

  /** Waits until both are so. */
  async until(wanted: (state: KernelState, name: Name) => boolean): Promise<void> {
    await eventually(
      'what is wanted of both',
      () => Promise.all(NAMES.map((name) => this.hosts[name].state())),
      (states) => states.every((state, i) => state !== undefined && wanted(state, NAMES[i]!)),
    );
  }

  async inSync(t: Test, primary: Name): Promise<void> {
    await this.until(
      ({ cs, disk, peerDisk, role }, name) =>
        cs === 'Connected' && disk === 'UpToDate' && peerDisk === 'UpToDate' && (role === 'Primary') === (name === primary),
    );
    t.pass('cs:Connected and ds:UpToDate/UpToDate on both');
  }

  /** Another content of the file; the source of the next resync has to send that, not the whole device. */
  async change(primary: Name): Promise<void> {
    this.#content = randomBytes(40_000);
    await this.hosts[primary].writeFile('file', this.#content);
  }

  async check(t: Test, primary: Name, what: string): Promise<void> {
    t.ok((await this.hosts[primary].readFile('file')).equals(this.#content), `${what}: the file is as it was written`);
  }

  /** `name` moves over, whichever way the section describes; the other one is Primary, and goes on writing once it is alone. */
  async move(t: Test, section: string, name: Name): Promise<void> {
    const other = this.hosts[otherThan(name)];
    const before = other.resyncsKib().length;
    const onceAlone = async (): Promise<void> => {
      await eventually(
        'the end of the connection',
        () => other.state(),
        (state) => state?.cs !== 'Connected',
      );
      await this.change(other.name);
    };
    await this.follow(t, section, name === 'alpha', onceAlone);
    await this.inSync(t, other.name);
    const sent = other.resyncsKib().slice(before);
    t.ok(sent.length > 0 && sent.every((kib) => kib > 0 && kib < 4096), `only what was written meanwhile: ${sent.join(', ')} KiB`);
  }

  /** Over to `name`. */
  async goOver(t: Test, name: Name): Promise<void> {
    await this.follow(t, 'Over to beta, then alpha', name === 'alpha');
    await this.check(t, name, `on ${name}`);
    await this.change(name);
  }
}

t.test('the guide', async (t) => {
  const guide = readFileSync(new URL('../../docs/migrating.md', import.meta.url), 'utf8');
  const folder = mkdtempSync('/dev/shm/udrbd-guide-');
  const namespace = createNamespace();
  const hosts: Host[] = [];
  t.teardown(async () => {
    await Promise.all(hosts.map((host) => host.stop()));
    namespace.remove();
    rmSync(folder, { recursive: true, force: true });
  });
  const [engine, drbdadm] = await Promise.all([bundleEngine(join(folder, 'bundle')), bundleDrbdadm(join(folder, 'bundle'))]);
  const [alpha, beta] = NAMES.map((name) => new Host(name, namespace, folder, { engine, drbdadm })) as [Host, Host];
  hosts.push(alpha, beta);
  const cluster = new Cluster(guide, { alpha, beta });

  // A live cluster of two kernels, with a file system in use on alpha.
  await Promise.all(hosts.map((host) => host.boot()));
  await Promise.all(hosts.map((host) => host.drbdadm('-- --force create-md data').then(() => host.drbdadm('up data'))));
  // A node that is made Primary in the middle of the handshake of two kernels does not begin the resync.
  await cluster.until(({ cs }) => cs === 'Connected');
  await alpha.drbdadm('primary --force data');
  await cluster.inSync(t, 'alpha');
  await alpha.kernel!.run('mkfs.ext4 -q /dev/drbd0');
  await alpha.mount();
  await cluster.change('alpha');

  const stages: readonly (readonly [string, (t: Test) => Promise<void>])[] = [
    ['beta becomes udrbd', (t) => cluster.move(t, 'beta becomes udrbd', 'beta')],
    ['over to beta', (t) => cluster.goOver(t, 'beta')],
    ['alpha becomes udrbd', (t) => cluster.move(t, 'beta becomes udrbd', 'alpha')],
    ['over to alpha', (t) => cluster.goOver(t, 'alpha')],
    ['beta becomes a kernel', (t) => cluster.move(t, 'And back', 'beta')],
    ['over to beta again', (t) => cluster.goOver(t, 'beta')],
    ['alpha becomes a kernel', (t) => cluster.move(t, 'And back', 'alpha')],
  ];
  for (const [name, stage] of stages) {
    await t.test(name, stage);
    // Each begins where the one before it has ended.
    if (!t.passing()) return;
  }

  t.strictSame(cluster.missed, [], 'no section was left out');
  await beta.umount();
  await Promise.all(hosts.map((host) => host.drbdadm('down data')));
  await Promise.all(hosts.map((host) => host.stop()));
  const [one, two] = hosts.map((host) => readImage(host.disk, 0, (DISK_MIB << 20) - (1 << 20)));
  t.ok(one!.equals(two!), 'the same data on both disks');
});
