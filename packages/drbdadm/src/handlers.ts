/** The handler commands, by which the engine calls out: they run the configured shell text with the resource in its environment. */
import { findEntry, hasDisk, type Resource, type Volume } from '@udrbd/config';
import type { Action } from './actions.js';
import { shellEscape, showLine } from './helper.js';
import type { Session } from './session.js';

export const handler: Action = async (session, { res, volume }, command) => {
  const text = findEntry(res.handlers, command.name)?.value;
  if (text === undefined) return 0;
  const call = { tool: '/bin/sh', args: ['-c', text], resource: res.name, limit: 'long' } as const;
  showLine(session, call);
  if (session.settings.dryRun) return 0;
  const seconds = session.config.global.cmdTimeoutLong;
  const result = await session.io.spawn({
    file: '/bin/sh',
    args: call.args,
    env: environment(session, res, volume),
    stdout: 'inherit',
    stderr: 'inherit',
    timeoutMs: seconds * 1000,
  });
  if (result.timedOut) {
    session.io.stderr(`Command '/bin/sh -c ${text}' did not terminate within ${seconds} seconds\n`);
    return 20;
  }
  return result.exitCode ?? 20;
};

/** What stock hands to a handler. Lists are blank separated, in the order of the volumes. */
function environment({ io, config }: Session, res: Resource, volume: Volume | undefined): Record<string, string | undefined> {
  const env: Record<string, string | undefined> = {};
  for (const [name, value] of Object.entries(io.env)) if (!/^DRBD_NODE_ID_[0-9]+$/.test(name)) env[name] = value;
  const volumes = volume === undefined ? (res.me?.volumes ?? []) : [volume];
  const list = (text: (v: Volume) => string) => volumes.map(text).join(' ');
  env.DRBD_CONF = config.file;
  env.DRBD_RESOURCE = res.name;
  for (const host of res.hosts) if (host.nodeId !== undefined) env[`DRBD_NODE_ID_${host.nodeId}`] = host.names.join(' ');
  env.DRBD_MY_NODE_ID ??= res.me?.nodeId;
  env.DRBD_MINOR = list((v) => String(v.minor));
  env.DRBD_VOLUME = list((v) => String(v.vnr));
  env.DRBD_LL_DISK = list((v) => shellEscape(hasDisk(v) ? v.disk! : 'none'));
  return env;
}
