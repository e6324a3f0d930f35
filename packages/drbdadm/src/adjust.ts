/**
 * `adjust`: the commands that turn what runs into what is configured, put into the queue. What runs is read from the output of
 * `drbdsetup show`. Specification: docs/commands/drbdadm.md.
 */
import { type Connection, findEntry, hasDisk, isIgnored, type LoadedShow, loadShow, type Resource, type Volume } from '@udrbd/config';
import type { Action } from './actions.js';
import { attach } from './actions.js';
import { findCommand } from './commands.js';
import { disksEqual, explain, NotANumber, optionEqual, optionsEqual, pathsEqual, sizesEqual } from './compare.js';
import { cancel, type Deferred, putBack, schedule, takeQueue } from './deferred.js';
import { captureOutput, run } from './helper.js';
import { configuredOptions, minorOf, pathArguments, peerNodeId, setupCall } from './lines.js';
import { scheduleProxy } from './proxy.js';
import { resize } from './resize.js';
import { givenOption, type Session, type Target } from './session.js';
import {
  scheduleConnect,
  scheduleNewMinor,
  scheduleNewPaths,
  scheduleNewPeer,
  scheduleNewResource,
  schedulePeerDeviceOptions,
} from './up.js';

const ATTACH = findCommand('attach')!;
const RESIZE = findCommand('resize')!;
const SIZE = new Set(['size']);
/** Fixed for the life of a peer object; a change needs a new one. */
const IMMUTABLE = ['transport', 'load-balance-paths'];
/** Connection states up to Connecting, in which nothing is lost by doing them first. */
const CONNECTED = 'Connected';

type Running = { readonly ok: true; readonly res: Resource | undefined } | { readonly ok: false; readonly exitCode: number };

async function readRunning(session: Session, names: readonly string[]): Promise<LoadedShow> {
  const { io } = session;
  const fake = io.env.FAKE_DRBDSETUP_SHOW;
  let text: string;
  if (fake !== undefined && fake !== '') {
    const content = io.source.read(io.cwd, fake);
    if (!('text' in content)) {
      io.stderr(`Failed to open FAKE_DRBDSETUP_SHOW ${fake}\n`);
      return { ok: false, exitCode: 1 };
    }
    text = content.text;
  } else text = (await captureOutput(session, 'drbdsetup', ['show', ...names])).stdout;
  return loadShow(text, (message) => io.stderr(message), session.config.file);
}

/** What runs under this name; of a single resource the last one shown, whatever its name. */
async function findRunning(session: Session, res: Resource): Promise<Running> {
  session.running ??= await readRunning(session, session.manyResources ? [] : [res.name]);
  if (!session.running.ok) return session.running;
  const { resources, valid } = session.running;
  // As in stock, to which both are one: a further resource that was named will find it so.
  if (!valid) session.config.valid = false;
  // One that was looked at alone is looked at anew the next time.
  if (!session.manyResources) session.running = undefined;
  const found = session.manyResources ? resources.find((r) => r.name === res.name) : resources.at(-1);
  return { ok: true, res: found };
}

interface VolumePlan {
  readonly configured: Volume | undefined;
  readonly running: Volume | undefined;
  readonly newMinor: boolean;
  readonly delMinor: boolean;
  readonly attach: boolean;
  readonly detach: boolean;
  readonly diskOptions: boolean;
  readonly resize: boolean;
}

const NOTHING = { newMinor: false, delMinor: false, attach: false, detach: false, diskOptions: false, resize: false };

function planVolume(session: Session, configured: Volume | undefined, running: Volume | undefined): VolumePlan {
  const base = { configured, running, ...NOTHING };
  if (running === undefined) {
    explain(session, 3, `New minor ${configured!.minor} (vol:${configured!.vnr})`);
    return { ...base, newMinor: true, attach: hasDisk(configured!) };
  }
  if (configured === undefined) {
    explain(session, 3, `Deleting minor ${running.minor} (vol:${running.vnr}) from kernel, not in config`);
    return { ...base, delMinor: true, detach: hasDisk(running) };
  }
  if (configured.minor !== running.minor) {
    explain(session, 3, ` [ne] vol:${configured.vnr} minor differs: r=${running.minor} c=${configured.minor}`);
    return { ...base, newMinor: true, delMinor: true, attach: hasDisk(configured), detach: hasDisk(running) };
  }
  if (!disksEqual(session, configured, running)) return { ...base, attach: hasDisk(configured), detach: hasDisk(running) };
  if (!hasDisk(configured)) return base;
  const sameSize = sizesEqual(session, configured, running);
  const sameOptions = optionsEqual(session, configured.diskOptions, running.diskOptions, SIZE);
  return { ...base, resize: !sameSize, diskOptions: !sameOptions };
}

function planVolumes(session: Session, { res, volume }: Target, running: Resource | undefined): VolumePlan[] {
  const mine = res.me?.volumes ?? [];
  const theirs = running?.me?.volumes ?? [];
  const numbers = [...new Set([...mine, ...theirs].map((v) => v.vnr))].sort((a, b) => a - b);
  return numbers
    .filter((vnr) => volume === undefined || volume.vnr === vnr)
    .map((vnr) =>
      planVolume(
        session,
        mine.find((v) => v.vnr === vnr),
        theirs.find((v) => v.vnr === vnr),
      ),
    );
}

const adjusted = new WeakSet<Connection>();

/** One resource's share of the queue. */
class Adjustment {
  readonly #session: Session;
  readonly #target: Target;
  readonly #running: Resource | undefined;
  readonly #waits: Deferred[] = [];
  /** What would have to be done before yet another connection. */
  #end: Deferred | undefined;
  #somebodyLeft = false;
  readonly #peerDevicesDone = new Set<string>();

  constructor(session: Session, target: Target, running: Resource | undefined) {
    this.#session = session;
    this.#target = target;
    this.#running = running;
  }

  get #res(): Resource {
    return this.#target.res;
  }

  #schedule(stage: Deferred['stage'], name: string, after: Deferred | undefined, action: () => Promise<number>): Deferred {
    return schedule(this.#session, stage, name, this.#res.name, after, action);
  }

  run(): void {
    const skipDisk = givenOption(this.#session, 'skip-disk') !== undefined;
    const skipNet = givenOption(this.#session, 'skip-net') !== undefined;
    if (this.#running === undefined) explain(this.#session, 3, `New resource ${this.#res.name}`);
    const volumes = planVolumes(this.#session, this.#target, this.#running);
    let after = this.#resource();
    after = this.#newMinors(volumes, after, !skipDisk && !skipNet);
    if (!skipDisk) this.#disks(volumes, after);
    if (!skipNet) this.#net(after);
    this.#dropNeedlessWaits();
  }

  #resource(): Deferred | undefined {
    const res = this.#res;
    if (this.#running === undefined) return scheduleNewResource(this.#session, res);
    if (optionsEqual(this.#session, res.options, this.#running.options)) return undefined;
    return this.#schedule('resource', 'resource-options', undefined, () => {
      const options = configuredOptions(this.#session, res.options, undefined);
      return run(this.#session, setupCall(res.name, 'short', 'resource-options', res.name, '--set-defaults', ...options));
    });
  }

  #newMinors(volumes: readonly VolumePlan[], first: Deferred | undefined, withPeerDevices: boolean): Deferred | undefined {
    let after = first;
    for (const { newMinor, configured } of volumes) {
      if (!newMinor || configured === undefined) continue;
      after = scheduleNewMinor(this.#session, { ...this.#target, volume: configured }, after);
      if (!withPeerDevices) continue;
      let chain: Deferred | undefined = after;
      for (const connection of this.#res.connections) {
        if (connection.ignore) continue;
        const device = connection.peerDevices.find((d) => d.vnr === configured.vnr);
        if (device !== undefined && device.options.length > 0) chain = this.#peerDevice(connection, configured.vnr, chain);
      }
    }
    return after;
  }

  /** What is set up waits for what was taken down before it, also in other volumes. */
  #disks(volumes: readonly VolumePlan[], first: Deferred | undefined): void {
    let after = first;
    for (const volume of volumes) after = this.#disk(volume, after);
  }

  /** @returns what the next volume has to wait for */
  #disk(plan: VolumePlan, first: Deferred | undefined): Deferred | undefined {
    const { configured, running } = plan;
    const { name } = this.#res;
    let after = first;
    const setup =
      (limit: 'short' | 'medium', ...args: string[]) =>
      () =>
        run(this.#session, setupCall(name, limit, ...args));
    if (plan.detach) after = this.#schedule('disk-prep-down', 'detach', after, setup('medium', 'detach', '--diskless', minorOf(running!)));
    if (plan.delMinor) after = this.#schedule('disk-prep-down', 'del-minor', after, setup('short', 'del-minor', minorOf(running!)));
    if (configured === undefined) return after;
    const target = { ...this.#target, volume: configured };
    if (plan.attach) this.#schedule('disk', 'attach', after, () => attach(this.#session, target, ATTACH));
    if (plan.diskOptions) {
      // A bitmap that is about to be used must be there before a peer comes to use it.
      const bitmapComes =
        findEntry(running!.diskOptions, 'bitmap')?.value === 'no' && findEntry(configured.diskOptions, 'bitmap')?.value !== 'no';
      this.#schedule(bitmapComes ? 'disk-prep-up' : 'disk', 'disk-options', after, () => {
        const options = configuredOptions(
          this.#session,
          configured.diskOptions.filter((o) => o.name !== 'size'),
          undefined,
        );
        return run(this.#session, setupCall(name, 'medium', 'disk-options', minorOf(configured), '--set-defaults', ...options));
      });
    }
    if (plan.resize) this.#schedule('disk', 'resize', after, () => resize(this.#session, target, RESIZE));
    return after;
  }

  #runningConnection(connection: Connection): Connection | undefined {
    const id = Number(peerNodeId(connection));
    return this.#running?.connections.find((c) => Number(c.peerNodeId) === id);
  }

  /** Those that are not connected come first, so that a connected one is touched only when another can stand in for it. */
  #net(first: Deferred | undefined): void {
    // Also when arguments name the resource twice: each connection has its turn once.
    const wanted = this.#res.connections.filter((c) => !isIgnored(c) && !adjusted.has(c));
    for (const connection of wanted) adjusted.add(connection);
    const isConnected = (c: Connection) => this.#runningConnection(c)?.cstate === CONNECTED;
    let after = first;
    for (const connected of [false, true])
      for (const connection of wanted) if (isConnected(connection) === connected) after = this.#connection(connection, after);
    this.#end = after;
    if (this.#target.connection !== undefined) return;
    const ids = new Set(this.#res.connections.filter((c) => !c.ignore).map((c) => Number(peerNodeId(c))));
    for (const left of this.#running?.connections ?? []) {
      if (ids.has(Number(left.peerNodeId))) continue;
      // Of a single resource the last one shown counts, whatever its name; what leaves does so under that name.
      after = this.#delPeer(left, this.#running?.name ?? this.#res.name, after);
    }
    this.#end = after;
  }

  #delPeer(connection: Connection, name: string, after: Deferred | undefined): Deferred {
    this.#somebodyLeft = true;
    return this.#schedule('net-prep-down', 'del-peer', after, () =>
      run(this.#session, setupCall(name, 'short', 'del-peer', name, peerNodeId(connection))),
    );
  }

  /** @returns what the next connection has to wait for */
  #connection(connection: Connection, first: Deferred | undefined): Deferred | undefined {
    const running = this.#runningConnection(connection);
    if (running === undefined) {
      const peer = scheduleNewPeer(this.#session, this.#res, connection, first);
      scheduleNewPaths(this.#session, this.#res, connection, peer);
      this.#optionedPeerDevices(connection, peer);
      return this.#connect(connection, peer);
    }
    if (IMMUTABLE.some((name) => !optionEqual(name, connection.net, running.net))) {
      optionsEqual(this.#session, connection.net, running.net);
      const gone = this.#delPeer(running, this.#res.name, first);
      const peer = scheduleNewPeer(this.#session, this.#res, connection, gone);
      this.#optionedPeerDevices(connection, peer);
      const paths = scheduleNewPaths(this.#session, this.#res, connection, peer);
      this.#changedPeerDevices(connection, running, peer);
      return this.#connect(connection, paths);
    }
    this.#netOptions(connection, running, first);
    this.#changedPeerDevices(connection, running, first);
    const cut = this.#paths(connection, running, first);
    return cut || running.cstate === 'StandAlone' ? this.#connect(connection, first) : first;
  }

  #netOptions(connection: Connection, running: Connection, after: Deferred | undefined): void {
    if (optionsEqual(this.#session, connection.net, running.net)) return;
    const { name } = this.#res;
    this.#schedule('net', 'net-options', after, () => {
      const net = connection.net.filter((o) => !IMMUTABLE.includes(o.name));
      const options = configuredOptions(this.#session, net, undefined);
      return run(this.#session, setupCall(name, 'short', 'net-options', name, peerNodeId(connection), '--set-defaults', ...options));
    });
  }

  #peerDevice(connection: Connection, vnr: number, after: Deferred | undefined): Deferred | undefined {
    const key = `${peerNodeId(connection)}/${vnr}`;
    if (this.#peerDevicesDone.has(key)) return after;
    this.#peerDevicesDone.add(key);
    return schedulePeerDeviceOptions(this.#session, this.#res, connection, vnr, true, after);
  }

  #changedPeerDevices(connection: Connection, running: Connection, after: Deferred | undefined): void {
    for (const device of connection.peerDevices) {
      const other = running.peerDevices.find((d) => d.vnr === device.vnr);
      if (other === undefined) this.#peerDevice(connection, device.vnr, after);
      else if (!optionsEqual(this.#session, device.options, other.options))
        schedulePeerDeviceOptions(this.#session, this.#res, connection, device.vnr, true, after);
    }
  }

  #optionedPeerDevices(connection: Connection, after: Deferred): void {
    for (const volume of this.#res.me?.volumes ?? []) {
      const device = connection.peerDevices.find((d) => d.vnr === volume.vnr);
      if (device !== undefined && device.options.length > 0) this.#peerDevice(connection, volume.vnr, after);
    }
  }

  /** @returns whether the only path went, so that the connection had to be cut */
  #paths(connection: Connection, running: Connection, first: Deferred | undefined): boolean {
    const res = this.#res;
    const wanted = connection.paths.filter((p) => !p.ignore);
    const id = peerNodeId(connection);
    const change = (command: string, path: (typeof wanted)[number]) => () =>
      run(this.#session, setupCall(res.name, 'short', command, res.name, id, ...pathArguments({ res, path, argument: '' })));
    for (const path of wanted) {
      if (!running.paths.some((p) => pathsEqual(path, p))) this.#schedule('net-path', 'new-path', first, change('new-path', path));
    }
    const surplus = running.paths.filter((p) => !wanted.some((path) => pathsEqual(path, p)));
    const isOnlyOne = surplus.length > 0 && running.paths.length === 1;
    let after = first;
    if (isOnlyOne && running.cstate !== 'StandAlone') {
      this.#somebodyLeft = true;
      after = this.#schedule('net-disconnect', 'disconnect', after, () =>
        run(this.#session, setupCall(res.name, 'short', 'disconnect', res.name, id)),
      );
    }
    for (const path of surplus) this.#schedule('net-prep-down', 'del-path', after, change('del-path', path));
    return isOnlyOne;
  }

  #connect(connection: Connection, after: Deferred | undefined): Deferred {
    const res = this.#res;
    const connect = scheduleConnect(this.#session, res, connection, after);
    const wait = this.#schedule('wait-connect', 'wait-connect', connect, async () => {
      const seconds = String(waitSeconds(res));
      const args = ['--wfc-timeout', '--degr-wfc-timeout', '--outdated-wfc-timeout'].flatMap((name) => [name, seconds]);
      const code = await run(
        this.#session,
        setupCall(res.name, 'none', 'wait-connect-connection', res.name, peerNodeId(connection), ...args),
      );
      return code === 5 ? 0 : code;
    });
    this.#waits.push(wait);
    return wait;
  }

  /** Waiting only makes sense when one connection was up and somebody else had to go; and never at the very end. */
  #dropNeedlessWaits(): void {
    const wasConnected = this.#running?.connections.some((c) => c.cstate === CONNECTED) ?? false;
    const worthIt = wasConnected && this.#somebodyLeft;
    for (const wait of this.#waits) if (!worthIt || wait === this.#end) cancel(wait);
  }
}

/** How long to wait for one connection: two rounds of the socket's time-out, at least a second. */
function waitSeconds(res: Resource): number {
  const text = (findEntry(res.net, 'socket-check-timeout') ?? findEntry(res.net, 'ping-timeout'))?.value ?? '';
  return Math.max(1, Math.floor((Number.parseInt(text, 10) * 2) / 10) || 0);
}

/** @returns an exit code other than 0, after a message, when what runs cannot be made out */
async function plan(session: Session, target: Target): Promise<number> {
  const { res } = target;
  try {
    if (!res.proxyOnly) {
      const running = await findRunning(session, res);
      if (!running.ok) return fatal(session, running.exitCode);
      new Adjustment(session, target, running.res).run();
    }
  } catch (error) {
    if (!(error instanceof NotANumber)) throw error;
    session.io.stderr(`${error.message}\n`);
    return fatal(session, 20);
  }
  // Also those of peers that were not named.
  for (const connection of res.connections.filter((c) => !c.ignore)) {
    const code = await scheduleProxy(session, { ...target, connection });
    if (code !== 0) return fatal(session, code);
  }
  return 0;
}

export const adjust: Action = plan;

/** A running configuration that cannot be read ends everything: nothing that was put off so far is done. */
function fatal(session: Session, exitCode: number): number {
  takeQueue(session);
  session.fatalExitCode = exitCode;
  return exitCode;
}

/** Prints the resource, when its turn comes, if `adjust` would do anything about it. */
export const listAdjustable: Action = async (session, target) => {
  const { name } = target.res;
  const listed = takeQueue(session);
  const code = await plan(session, target);
  if (code !== 0) return code;
  const isAdjustable = takeQueue(session).some((c) => c.state === 'waiting');
  putBack(session, listed);
  if (isAdjustable && !listed.some((c) => c.resource === name))
    schedule(session, 'prereq', '', name, undefined, async () => {
      session.io.stdout(`${name}\n`);
      return 0;
    });
  return 0;
};
