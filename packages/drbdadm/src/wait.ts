/** wait-connect, wait-sync, and the wait of the boot script, wait-con-int. */
import { findEntry, type Resource } from '@udrbd/config';
import type { Action } from './actions.js';
import { type Call, run } from './helper.js';
import { configuredOptions, peerNodeId, setupCall } from './lines.js';
import { isTty, type Session } from './session.js';

/** The time limits of the startup section; stacked resources wait for two connection attempts unless told otherwise. */
function timeLimits(session: Session, res: Resource): string[] {
  if (!session.stackedMode || res.stackedTimeouts) return configuredOptions(session, res.startup, undefined);
  const interval = findEntry(res.net, 'connect-int')?.value;
  return ['--wfc-timeout', String(2 * (interval === undefined ? 10 : Number.parseInt(interval, 10)))];
}

export const wait: Action = (session, target, command) => {
  const { res, connection, volume } = target;
  const limits = timeLimits(session, res);
  if (connection === undefined) return run(session, setupCall(res.name, 'none', `${command.name}-resource`, res.name, ...limits));
  const peer = peerNodeId(connection);
  const [scope, extra] = volume === undefined ? ['connection', []] : ['volume', [String(volume.vnr)]];
  return run(session, setupCall(res.name, 'none', `${command.name}-${scope}`, res.name, peer, ...extra, ...limits));
};

const NO_TTY = 'WARN: stdin/stdout is not a TTY; using /dev/console';

const EXPLANATION = (degr: string, wfc: string): string => `
***************************************************************
 DRBD's startup script waits for the peer node(s) to appear.
 - If this node was already a degraded cluster before the
   reboot, the timeout is ${degr} seconds. [degr-wfc-timeout]
 - If the peer was available before the reboot, the timeout
   is ${wfc} seconds. [wfc-timeout]
   (These values are for resource '%RES%'; 0 sec -> wait forever)
`;

/** Waits for all resources at once; somebody at the terminal may end it by entering yes. */
export async function waitInteractively(session: Session): Promise<number> {
  const { io, config, settings } = session;
  if (!isTty(io)) {
    io.stderr(NO_TTY);
    io.stdout(NO_TTY);
  }
  const resources = config.resources.filter((res) => !res.ignore && res.stacked === session.stackedMode);
  const calls = resources.map((res): Call => setupCall(res.name, 'none', 'wait-connect-resource', res.name, ...timeLimits(session, res)));
  if (settings.dryRun) {
    for (const call of calls) await run(session, call);
    return 0;
  }
  let running = calls.length;
  const all = Promise.all(
    calls.map(async (call) => {
      await run(session, call);
      running--;
    }),
  );
  for (let second = 0; second < 10 && running > 0; second++) {
    await Promise.race([all, io.sleep(1000)]);
    if (running > 0) io.stdout('.');
  }
  const [first] = resources;
  if (running === 0 || first === undefined) return 0;
  const value = (name: string) => findEntry(first.startup, name)?.value ?? '0';
  io.stdout(EXPLANATION(value('degr-wfc-timeout'), value('wfc-timeout')).replace('%RES%', first.name));
  if (!isTty(io)) {
    await all;
    return 0;
  }
  io.stdout(" To abort waiting enter 'yes' [ -- ]:");
  await Promise.race([all, untilYes(session)]);
  return 0;
}

async function untilYes({ io }: Session): Promise<void> {
  for (let line = await io.readLine(); line !== null; line = await io.readLine()) {
    if (line.trim() === 'yes') return;
    io.stdout(" To abort waiting enter 'yes' [ -- ]:");
  }
}
