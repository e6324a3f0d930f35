/** proxy-up and proxy-down: the command lines for drbd-proxy-ctl. */
import type { Address, Connection, Path } from '@udrbd/config';
import { addressText } from '@udrbd/config';
import type { Action } from './actions.js';
import { schedule } from './deferred.js';
import { type Call, run } from './helper.js';
import type { Session, Target } from './session.js';

const proxied = (connection: Connection): Path | undefined => connection.paths.find((p) => p.me?.proxy !== undefined);
const text = (a: Address | undefined): string => (a === undefined ? '' : addressText(a));

const connectionName = ({ res, connection }: Target): string =>
  `${res.name}-${connection!.peer?.names.join('_')}-${res.me?.names.join('_')}`;

const call = (target: Target, ...args: string[]): Call => ({ tool: 'drbd-proxy-ctl', args, resource: target.res.name, limit: 'short' });

/** @returns an exit code when the connection has no proxy: an error only for who asked for this very one */
function withoutProxy(...[session, { res, connection, argument }]: Parameters<Action>): number {
  if (!argument.includes(':')) return 0;
  session.io.stderr(
    `${res.file}:${connection!.line}: In resource '${res.name}', no proxy config for connection from '${res.me?.names.join('_')}' to '${connection!.peer?.names.join('_')}'.\n`,
  );
  return 10;
}

/** The two steps of bringing a proxy up: the connection, then its options and plugins. None for a connection without proxy. */
function proxyUpCalls(target: Target): Call[] {
  const path = proxied(target.connection!);
  const proxy = path?.me?.proxy;
  if (path === undefined || proxy === undefined) return [];
  const name = connectionName(target);
  const addresses = [proxy.inside, path.peer?.proxy?.outside, proxy.outside, path.me!.address].map(text).join(' ');
  const options = proxy.options.map((o) => ` --${o.name}=${o.value ?? ''}`).join('');
  const settings = proxy.options.flatMap((o) => ['-c', `set ${o.name} ${name} ${o.value ?? ''}`]);
  const plugins = proxy.plugins.flatMap((line, i) => ['-c', `set plugin ${name} ${i} ${line}`]);
  const end = proxy.plugins.length > 0 ? ['-c', `set plugin ${name} ${proxy.plugins.length} END`] : [];
  const args = [...settings, ...plugins, ...end];
  const add = call(target, '-c', `add connection ${name} ${addresses}${options}`);
  return args.length === 0 ? [add] : [add, call(target, ...args)];
}

export const proxyUp: Action = async (session, target, command) => {
  const calls = proxyUpCalls(target);
  if (calls.length === 0) return withoutProxy(session, target, command);
  for (const step of calls) {
    const code = await run(session, step);
    if (code !== 0) return code;
  }
  return 0;
};

/** Puts the proxy of a new connection into the queue. */
export function scheduleProxyUp(session: Session, target: Target): void {
  for (const step of proxyUpCalls(target))
    schedule(session, 'net-prep-up', 'proxy-up', target.res.name, undefined, () => run(session, step));
}

export const proxyDown: Action = async (session, target, command) => {
  if (proxied(target.connection!) === undefined) return withoutProxy(session, target, command);
  return run(session, call(target, '-c', `del connection ${connectionName(target)}`));
};
