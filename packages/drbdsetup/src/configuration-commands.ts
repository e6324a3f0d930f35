/** Commands that send one request and report its answer, and `down`, which sends one per resource. */
import { existsSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { type ControlClient, RETURN_CODES, type Reply } from '@udrbd/control';
import type { CommandIo } from './command-io.js';
import { type ConfigurationRequest, configurationRequest } from './configuration-requests.js';
import { runDir } from './engine-client.js';
import { resourcesOf } from './engine-state.js';
import type { Session } from './invocation.js';
import { reportReply } from './reply-report.js';
import { compareBytes } from './words.js';

const RETRY_FIRST_MS = 62.5;
const RETRY_MAX_MS = 10_000;

/** Sends a request; one that meets a transient state is sent again until it does not. */
export async function ask(engine: ControlClient, { command, parameters }: ConfigurationRequest): Promise<Reply> {
  for (let delayMs = RETRY_FIRST_MS; ; delayMs = Math.min(2 * delayMs, RETRY_MAX_MS)) {
    const reply = await engine.request(command, parameters);
    if (reply.code !== RETURN_CODES.SS_IN_TRANSIENT_STATE.code) return reply;
    await new Promise((resolve) => setTimeout(resolve, delayMs));
  }
}

export async function runConfiguration(session: Session): Promise<number> {
  const { io, engine, object, row } = session;
  if (Number.isNaN(session.peerNodeId)) return (await import('./address-form.js')).runAddressForm(session);
  const request = await configurationRequest(session);
  if (row.name === 'new-minor' && (await minorExists(session))) return reportReply(io, object, MINOR_EXISTS);
  const before = row.name === 'del-resource' || row.name === 'del-minor' ? await resourcesOf(session) : [];
  const reply = await ask(engine, request);
  const status = reportReply(io, object, reply);
  if (status === 0 && row.name === 'del-minor') unregister(io.env, [session.minor]);
  if (status === 0 && row.name === 'del-resource') {
    unregister(io.env, [], before.find(({ name }) => name === session.resource)?.name ?? session.resource);
  }
  return status;
}

const MINOR_EXISTS = { code: RETURN_CODES.ERR_MINOR_OR_VOLUME_EXISTS.code, info: [] };

/**
 * Stock refuses a minor whose block device exists before it asks the kernel. The device may be the kernel's own DRBD's, or ours.
 */
async function minorExists(session: Session): Promise<boolean> {
  const { io, minor, resource, volume } = session;
  const nodes = [`/sys/devices/virtual/block/drbd${minor}`, `/sys/devices/virtual/bdi/147:${minor}`, `/sys/block/drbd${minor}`];
  const isOurs = (await resourcesOf(session)).some(({ devices }) => devices.some((device) => device.minor === minor));
  const node = isOurs ? nodes[0] : nodes.find((path) => existsSync(path));
  if (node === undefined) return false;
  io.stderr(`new-minor ${resource} ${minor} ${volume}: sysfs node '${node}' (already? still?) exists\n`);
  return true;
}

/** Unknown resources and an empty machine are as good as down. With `all` a failure does not stop the others. */
export async function runDown(session: Session): Promise<number> {
  const { io, engine, rest } = session;
  if (rest.length > 1) {
    // Stock begins one word late, and ends with a status of 900, of which eight bits are left.
    io.stderr(`Excess arguments: ${rest.slice(1).join(' ')}\n`);
    return 900 & 0xff;
  }
  let status = 0;
  const resources = [...(await resourcesOf(session))].sort((a, b) => compareBytes(a.name, b.name));
  for (const resource of resources) {
    if (session.resource !== undefined && resource.name !== session.resource) continue;
    const reply = await ask(engine, { command: 'down', parameters: { resource: resource.name } });
    const isGone = reply.code === RETURN_CODES.ERR_RES_NOT_KNOWN.code;
    const failed = isGone ? 0 : reportReply(io, resource.name, reply);
    if (failed === 0) {
      unregister(
        io.env,
        resource.devices.map(({ minor }) => minor),
        resource.name,
      );
    }
    status ||= failed;
  }
  return status;
}

/** Where drbdadm remembers the configuration file of what is up. */
const registrationDir = (env: CommandIo['env']): string => join(runDir(env), 'config');

function unregister(env: CommandIo['env'], minors: readonly number[], resource?: string): void {
  const names = minors.flatMap((minor) => [`drbd-minor-${minor}.conf`, `drbd-minor-${minor}.unnumbered`]);
  if (resource !== undefined) names.push(`drbd-resource-${resource}.conf`);
  for (const name of names) {
    try {
      unlinkSync(join(registrationDir(env), name));
    } catch {
      // Brought up by hand, so it was never registered.
    }
  }
}
