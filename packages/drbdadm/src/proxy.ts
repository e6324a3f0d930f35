/** What is said to drbd-proxy-ctl: proxy-up, proxy-down, and the proxies' share of `adjust`. */
import {
  type Address,
  addressText,
  type Connection,
  type Endpoint,
  findEntry,
  isProxyHere,
  loadProxySettings,
  type Path,
  type ProxySettings,
  parseNumber,
} from '@udrbd/config';
import type { Action } from './actions.js';
import { type Deferred, schedule } from './deferred.js';
import { type Call, captureOutput, run } from './helper.js';
import type { Session, Target } from './session.js';

/** The path of a connection whose proxy on our side runs on this node. */
const proxied = ({ nodeName }: Session, connection: Connection): Path | undefined =>
  connection.paths.find((p) => p.me !== undefined && isProxyHere(p.me, nodeName));
const text = (a: Address | undefined): string => (a === undefined ? '' : addressText(a));

const nameOf = ({ res }: Target, ends: (end: Endpoint | undefined) => readonly string[] | undefined, { me, peer }: Path): string =>
  `${res.name}-${ends(peer)?.join('_')}-${ends(me)?.join('_')}`;
const connectionName = (target: Target, path: Path): string => nameOf(target, (end) => end?.host?.names, path);
/** As releases before 9.23 named it: after the hosts of the proxies. */
const oldName = (target: Target, path: Path): string => nameOf(target, (end) => end?.proxy?.names, path);

const call = (target: Target, ...args: string[]): Call => ({ tool: 'drbd-proxy-ctl', args, resource: target.res.name, limit: 'short' });

/** @returns an exit code when the connection has no proxy: an error only for who asked for this very one */
function withoutProxy(...[session, { res, connection, argument }]: Parameters<Action>): number {
  if (!argument.includes(':')) return 0;
  session.io.stderr(
    `${res.file}:${connection!.line}: In resource '${res.name}', no proxy config for connection from '${res.me?.names.join('_')}' to '${connection!.peer?.names.join('_')}'.\n`,
  );
  return 10;
}

/** The two steps of bringing a proxy up: the connection, then its options and plugins. */
function upCalls(target: Target, path: Path): Call[] {
  const me = path.me!;
  const proxy = me.proxy!;
  const name = connectionName(target, path);
  const addresses = [proxy.inside, path.peer?.proxy?.outside, proxy.outside, me.address].map(text).join(' ');
  const options = proxy.options.map((o) => ` --${o.name}=${o.value ?? ''}`).join('');
  const settings = proxy.options.flatMap((o) => ['-c', `set ${o.name} ${name} ${o.value ?? ''}`]);
  const plugins = proxy.plugins.flatMap((line, i) => ['-c', `set plugin ${name} ${i} ${line}`]);
  const end = proxy.plugins.length > 0 ? ['-c', `set plugin ${name} ${proxy.plugins.length} END`] : [];
  const args = [...settings, ...plugins, ...end];
  const add = call(target, '-c', `add connection ${name} ${addresses}${options}`);
  return args.length === 0 ? [add] : [add, call(target, ...args)];
}

/** Taking it down, under the name that older releases gave it, too. */
const downCalls = (target: Target, path: Path): Call[] =>
  [...new Set([connectionName(target, path), oldName(target, path)])].map((name) => call(target, '-c', `del connection ${name}`));

/** @returns the last exit code, or the first that is no success if that ends it */
async function runAll(session: Session, calls: readonly Call[]): Promise<number> {
  for (const step of calls) {
    const code = await run(session, step);
    if (code !== 0) return code;
  }
  return 0;
}

export const proxyUp: Action = async (session, target, command) => {
  const path = proxied(session, target.connection!);
  return path === undefined ? withoutProxy(session, target, command) : runAll(session, upCalls(target, path));
};

export const proxyDown: Action = async (session, target, command) => {
  const path = proxied(session, target.connection!);
  return path === undefined ? withoutProxy(session, target, command) : runAll(session, downCalls(target, path));
};

type Settings = { readonly ok: true; readonly settings: ProxySettings | undefined } | { readonly ok: false; readonly exitCode: number };

/** What a running proxy says of a connection; undefined settings when it does not know it. */
async function showSettings(session: Session, name: string, fakeName: string): Promise<Settings> {
  const { io } = session;
  const fake = io.env[fakeName];
  let shown: string;
  if (fake !== undefined && fake !== '') {
    const content = io.source.read(io.cwd, fake);
    if (!('text' in content)) {
      io.stderr(`Failed to open FAKE_DRBD_PROXY_CTL{,_OLD} ${fake}\n`);
      return { ok: false, exitCode: 1 };
    }
    shown = content.text;
  } else shown = (await captureOutput(session, 'drbd-proxy-ctl', ['-c', `show proxy-settings ${name}`])).stdout;
  return loadProxySettings(shown, `drbd-proxy-ctl -c 'show proxy-settings ${name}'`, (message) => io.stderr(message));
}

/** Limits closer than 2 % are the same to a proxy, which rounds them. One that is not configured may be anything. */
function memlimitDiffers(proxy: NonNullable<Endpoint['proxy']>, running: ProxySettings): boolean {
  const wanted = findEntry(proxy.options, 'memlimit')?.value;
  if (wanted === undefined) return false;
  const limit = (value: string) => Number(parseNumber(value, 1) ?? 0);
  const [a, b] = [limit(wanted), limit(findEntry(running.options, 'memlimit')?.value ?? '0')];
  return Math.max(a, b) > Math.min(a, b) * 1.02;
}

/** The plugins to set one by one. @returns undefined when one is running at another place, for they cannot be moved */
function pluginChanges(wanted: readonly string[], running: readonly string[]): [number, string][] | undefined {
  const changes: [number, string][] = [];
  for (const [i, plugin] of wanted.entries()) {
    if (running[i] === plugin) continue;
    if (running.includes(plugin)) return undefined;
    changes.push([i, plugin]);
  }
  if (running.length > wanted.length) changes.push([wanted.length, 'end']);
  return changes;
}

/**
 * Puts into the queue what the proxy of one connection needs.
 * @returns an exit code other than 0, after a message, when what runs cannot be made out
 */
export async function scheduleProxy(session: Session, target: Target): Promise<number> {
  const path = proxied(session, target.connection!);
  if (path === undefined) return 0;
  const { name: resource } = target.res;
  const proxy = path.me!.proxy!;
  let name = connectionName(target, path);
  let running = await showSettings(session, name, 'FAKE_DRBD_PROXY_CTL');
  if (running.ok && running.settings === undefined) {
    name = oldName(target, path);
    running = await showSettings(session, name, 'FAKE_DRBD_PROXY_CTL_OLD');
  }
  if (!running.ok) return running.exitCode;
  let after: Deferred | undefined;
  const put = (stage: Deferred['stage'], calls: Call[]) => {
    after = schedule(session, stage, '', resource, after, () => runAll(session, calls));
  };
  const changes = running.settings === undefined ? undefined : pluginChanges(proxy.plugins, running.settings.plugins);
  if (running.settings !== undefined && changes !== undefined && !memlimitDiffers(proxy, running.settings)) {
    for (const [i, plugin] of changes) {
      const what = `set plugin ${name} ${i} ${plugin}`;
      schedule(session, 'prereq', what, resource, undefined, () => run(session, call(target, '-c', what)));
    }
    return 0;
  }
  if (running.settings !== undefined) put('net-prep-down', downCalls(target, path));
  for (const step of upCalls(target, path)) put('net-prep-up', [step]);
  return 0;
}
