/** `up`: everything a resource needs, put into the queue. */
import { type Connection, hasDisk, isIgnored, type Resource } from '@udrbd/config';
import { type Action, attach } from './actions.js';
import { findCommand } from './commands.js';
import { type Deferred, schedule } from './deferred.js';
import { backendOptions, run } from './helper.js';
import { configuredOptions, isUnnumbered, minorOf, pathArguments, peerNodeId, setupCall } from './lines.js';
import type { Session, Target } from './session.js';

/** new-resource, as `up` and `adjust` run it. */
export function scheduleNewResource(session: Session, res: Resource): Deferred {
  return schedule(session, 'prereq', 'new-resource', res.name, undefined, async () => {
    const options = configuredOptions(session, res.options, 'options');
    const id = res.me?.nodeId ?? '0';
    const code = await run(
      session,
      setupCall(res.name, 'short', 'new-resource', res.name, id, ...options, ...backendOptions(session, 'options')),
    );
    if (code === 0 && !session.settings.dryRun) session.io.register(`drbd-resource-${res.name}.conf`, session.config.file);
    return code;
  });
}

export function scheduleNewMinor(session: Session, target: Target, after: Deferred | undefined): Deferred {
  const { res } = target;
  const volume = target.volume!;
  return schedule(session, 'disk-prep-up', 'new-minor', res.name, after, async () => {
    const diskless = hasDisk(volume) ? [] : ['--diskless'];
    const options = configuredOptions(session, volume.deviceOptions, 'device');
    const args = [res.name, minorOf(volume), String(volume.vnr), ...diskless, ...options];
    const code = await run(session, setupCall(res.name, 'short', 'new-minor', ...args));
    if (code === 0 && !session.settings.dryRun) {
      session.io.register(`drbd-minor-${volume.minor}.conf`, session.config.file);
      // For the engine, which names the device as the udev rules would.
      const unnumbered = `drbd-minor-${volume.minor}.unnumbered`;
      if (isUnnumbered(session.config, volume)) session.io.register(unnumbered, session.config.file);
      else session.io.unregister(unnumbered);
    }
    return code;
  });
}

export const scheduleAttach = (session: Session, target: Target, after: Deferred | undefined): Deferred =>
  schedule(session, 'disk', 'attach', target.res.name, after, () => attach(session, target, ATTACH));

/** attach on its own takes options of the command line; the one inside of `up` only unchecked ones, which the filter lets through. */
const ATTACH = findCommand('attach')!;

export function scheduleNewPeer(session: Session, res: Resource, connection: Connection, after: Deferred | undefined): Deferred {
  return schedule(session, 'net-prep-up', 'new-peer', res.name, after, () => {
    const options = configuredOptions(session, connection.net, 'new-peer');
    const args = [res.name, peerNodeId(connection), ...options, ...backendOptions(session, 'new-peer')];
    return run(session, setupCall(res.name, 'short', 'new-peer', ...args));
  });
}

/** One command for all paths of the connection. */
export function scheduleNewPaths(session: Session, res: Resource, connection: Connection, after: Deferred | undefined): Deferred {
  return schedule(session, 'net-path', 'new-path', res.name, after, async () => {
    let code = 0;
    for (const path of connection.paths) {
      if (path.ignore) continue;
      code = await run(
        session,
        setupCall(res.name, 'short', 'new-path', res.name, peerNodeId(connection), ...pathArguments({ res, path, argument: '' })),
      );
    }
    return code;
  });
}

export function scheduleConnect(session: Session, res: Resource, connection: Connection, after: Deferred | undefined): Deferred {
  return schedule(session, 'net-connect', 'connect', res.name, after, () =>
    run(session, setupCall(res.name, 'short', 'connect', res.name, peerNodeId(connection), ...backendOptions(session, 'connect'))),
  );
}

/** @param setDefaults - for a peer device that exists: what is not named goes back to its default */
export function schedulePeerDeviceOptions(
  session: Session,
  res: Resource,
  connection: Connection,
  vnr: number,
  setDefaults: boolean,
  after: Deferred | undefined,
): Deferred {
  return schedule(session, 'peer-device', 'peer-device-options', res.name, after, () => {
    const device = connection.peerDevices.find((d) => d.vnr === vnr);
    const options = configuredOptions(session, device?.options ?? [], 'peer-device');
    const defaults = setDefaults ? ['--set-defaults'] : [];
    const args = [res.name, peerNodeId(connection), String(vnr), ...defaults, ...options, ...backendOptions(session, 'peer-device')];
    return run(session, setupCall(res.name, 'short', 'peer-device-options', ...args));
  });
}

export const up: Action = async (session, { res, argument }) => {
  const created = scheduleNewResource(session, res);
  for (const volume of res.me?.volumes ?? []) {
    const target = { res, volume, argument };
    const minor = scheduleNewMinor(session, target, created);
    if (hasDisk(volume)) scheduleAttach(session, target, minor);
  }
  for (const connection of res.connections) {
    if (isIgnored(connection)) continue;
    const peer = scheduleNewPeer(session, res, connection, created);
    scheduleNewPaths(session, res, connection, peer);
    scheduleConnect(session, res, connection, peer);
    for (const device of connection.peerDevices)
      if (device.options.length > 0) schedulePeerDeviceOptions(session, res, connection, device.vnr, false, peer);
  }
  return 0;
};
