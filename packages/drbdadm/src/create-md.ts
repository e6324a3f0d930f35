/** `create-md`: new meta-data, with room for as many peers as have a disk, and a device UUID of its own. */
import { hasDisk, isIgnored, type Resource } from '@udrbd/config';
import type { Action } from './actions.js';
import { backendOptions, captureOutput, run } from './helper.js';
import { metaCall } from './lines.js';
import { givenOption, type Session } from './session.js';

function peersWithDisk(res: Resource): number {
  const peers = res.connections.filter((c) => !isIgnored(c) && (c.peer?.volumes.some(hasDisk) ?? false));
  return Math.max(peers.length, 1);
}

/** Node ids of the peers that have a disk in this volume. */
function diskfulPeers(res: Resource, vnr: number): string {
  return res.connections
    .filter((c) => !isIgnored(c) && c.peer?.volumes.some((v) => v.vnr === vnr && hasDisk(v)))
    .map((c) => c.peer!.nodeId)
    .join(',');
}

export const createMd: Action = async (session, { res, volume }, command) => {
  const slots = givenOption(session, 'max-peers') ?? String(peersWithDisk(res));
  const options = backendOptions(session, command.context).filter((o) => !o.startsWith('--max-peers'));
  if (givenOption(session, 'effective-size') !== undefined && givenOption(session, 'diskful-peers') === undefined)
    options.push(`--diskful-peers=${diskfulPeers(res, volume!.vnr)}`);
  const code = await run(session, metaCall(res.name, volume!, ['create-md', slots, ...options]));
  if (code !== 0 || session.settings.dryRun) return code;
  await nameDevice(session, res, volume!);
  return 0;
};

/** Gives the device a UUID unless it has one. What comes of it does not change the result: the meta-data is there. */
async function nameDevice(session: Session, res: Resource, volume: Parameters<typeof metaCall>[1]): Promise<void> {
  const { stdout } = await captureOutput(session, 'drbdmeta', metaCall(res.name, volume, ['read-dev-uuid']).args);
  const uuid = /[0-9A-Fa-f]{16}/.exec(stdout)?.[0];
  if (uuid !== undefined && !/^0+$/.test(uuid)) return;
  const call = metaCall(res.name, volume, ['write-dev-uuid', session.io.randomUuid()]);
  await captureOutput(session, 'drbdmeta', call.args);
}
