/**
 * The zod schemas of the control language: what the engine lets in.
 *
 * A request that does not fit is answered like the kernel's DRBD answers a bad netlink message: 137 for an unknown command, 126 for
 * an option that is unknown or out of range, 162 for anything else.
 */
import { z } from 'zod';
import { decodeLine } from './ndjson.js';
import {
  clampOptions,
  DEVICE_OPTIONS,
  DISK_OPTIONS,
  isOptionValue,
  NET_OPTIONS,
  type OptionTable,
  type OptionValues,
  PEER_DEVICE_OPTIONS,
  RESOURCE_OPTIONS,
} from './options.js';
import type { Command, Reply, Request } from './requests.js';
import { RETURN_CODES, type Refusal } from './return-codes.js';
import { ADDRESS_FAMILIES } from './snapshot.js';

/** Node ids and connection slots of one resource. */
const NODE_ID_MAX = 31;
const NODE_ID_NONE = 0xffff_ffff;
const MINOR_MAX = (1 << 20) - 1;
const VOLUME_MAX = 65534;

/** Texts that the kernel's DRBD sends too; whatever else zod says is prefixed by the name of the parameter. */
const INVALID_NAME = 'invalid name (disallowed: ascii control, space, slash)';
const name = z
  .string()
  .min(1, 'name missing')
  .max(127, INVALID_NAME)
  .regex(/^[^\x00-\x20/\x7f]+$/, INVALID_NAME);
/** A name to look up rather than to create: anything but nothing. */
const resource = z.string().min(1, 'unknown resource').max(1024);
const peerNodeId = z.int('peer node id missing').min(0, 'peer node id out of range').max(NODE_ID_MAX, 'peer node id out of range');
const minor = z.int().min(0, 'requested minor out of range').max(MINOR_MAX, 'requested minor out of range');
const volume = z.int().min(0, 'requested volume id out of range').max(VOLUME_MAX, 'requested volume id out of range');
const sectors = z.int().min(0);
const path = z.string().min(1).max(4095);
const flag = z.boolean().default(false);
const endpoint = z.strictObject({
  family: z.enum(ADDRESS_FAMILIES),
  address: z.string().min(2).max(64),
  port: z.int().min(0).max(65535),
});

/** Marks an issue that belongs to an option, so that it is answered with 126. */
const OPTION_ISSUE = 'invalid attribute value';
const optionsOf = <T extends OptionTable>(table: T, ...without: (keyof T)[]) =>
  z
    .record(z.string(), z.unknown())
    .refine(
      (given) =>
        Object.entries(given).every(([key, value]) => {
          const row = Object.hasOwn(table, key) && !without.includes(key) ? table[key] : undefined;
          return row !== undefined && isOptionValue(row, value);
        }),
      OPTION_ISSUE,
    )
    .default({})
    .transform((given) => clampOptions(table, given as Partial<OptionValues<T>>));
const change = <T extends OptionTable>(table: T, ...without: (keyof T)[]) => ({
  options: optionsOf(table, ...without),
  setDefaults: flag,
});

const connection = { resource, peerNodeId };
const peerDevice = { ...connection, volume };
const paths = { ...connection, local: endpoint, remote: endpoint };

const OWN_TEXTS: ReadonlySet<string> = new Set([
  INVALID_NAME,
  'name missing',
  'node id out of range',
  'peer node id missing',
  'peer node id out of range',
  'requested minor out of range',
  'requested volume id out of range',
]);

/** The parameters of every command, apart from `id` and `command`. */
export const PARAMETERS = {
  ping: z.object({}),
  version: z.object({}),
  snapshot: z.object({ resource: resource.exactOptional() }),
  events: z.object({ subscribe: z.boolean().default(true) }),
  proc: z.object({}),
  'timeout-type': z.object(peerDevice),

  'new-resource': z.object({
    resource: name,
    nodeId: z.int().refine((id) => (id >= 0 && id <= NODE_ID_MAX) || id === NODE_ID_NONE, 'node id out of range'),
    options: optionsOf(RESOURCE_OPTIONS),
  }),
  'resource-options': z.object({ resource, ...change(RESOURCE_OPTIONS) }),
  'rename-resource': z.object({ resource, newName: name }),
  'del-resource': z.object({ resource }),
  primary: z.object({ resource, force: flag }),
  secondary: z.object({ resource, force: flag }),
  down: z.object({ resource }),

  'new-minor': z.object({ resource, minor, volume, options: optionsOf(DEVICE_OPTIONS) }),
  'del-minor': z.object({ minor }),
  attach: z.object({ minor, backingDev: path, metaDev: path, metaIndex: z.int().min(-3), options: optionsOf(DISK_OPTIONS) }),
  detach: z.object({ minor, force: flag, diskless: flag }),
  'disk-options': z.object({ minor, ...change(DISK_OPTIONS, 'size') }),
  resize: z.object({
    minor,
    size: sectors.exactOptional(),
    assumePeerHasSpace: flag,
    assumeClean: flag,
    alStripes: z.int().min(1).max(1024).exactOptional(),
    alStripeSizeKiB: z.int().min(4).max(16_777_216).exactOptional(),
  }),
  'new-current-uuid': z.object({ minor, clearBitmap: flag, forceResync: flag }),
  invalidate: z.object({ minor, syncFromPeerNodeId: peerNodeId.exactOptional(), resetBitmap: z.boolean().default(true) }),
  outdate: z.object({ minor }),
  'suspend-io': z.object({ minor, bdevFreeze: z.boolean().default(true) }),
  'resume-io': z.object({ minor }),

  'new-peer': z.object({ ...connection, options: optionsOf(NET_OPTIONS) }),
  'net-options': z.object({ ...connection, ...change(NET_OPTIONS, 'transport', 'load-balance-paths') }),
  'del-peer': z.object({ ...connection, force: flag }),
  'forget-peer': z.object(connection),
  'new-path': z.object(paths),
  'del-path': z.object(paths),
  connect: z.object({ ...connection, tentative: flag, discardMyData: flag }),
  disconnect: z.object({ ...connection, force: flag }),

  'peer-device-options': z.object({ ...peerDevice, ...change(PEER_DEVICE_OPTIONS) }),
  'invalidate-remote': z.object({ ...peerDevice, resetBitmap: z.boolean().default(true) }),
  'pause-sync': z.object(peerDevice),
  'resume-sync': z.object(peerDevice),
  verify: z.object({ ...peerDevice, start: sectors.exactOptional(), stop: sectors.exactOptional() }),
} as const satisfies Record<Command, z.ZodType>;

/** A line that is a request, or the answer to send instead. */
export type ParsedRequest = { readonly ok: true; readonly request: Request } | { readonly ok: false; readonly reply: Reply };

/** Answers with id 0 when the line does not even have one. */
const refusal = (id: number, error: Refusal): ParsedRequest => ({
  ok: false,
  reply: { id, code: RETURN_CODES[error.name].code, info: error.info ?? [] },
});

const envelope = z.looseObject({ id: z.int().min(0), command: z.string() });

/** Turns one decoded line into a request. Nothing a client sends makes it throw. */
export function parseRequest(value: unknown): ParsedRequest {
  const head = envelope.safeParse(value);
  if (!head.success) return refusal(0, { name: 'ERR_INVALID_REQUEST', info: ['a request is an object with id and command'] });
  const { id, command } = head.data;
  if (!Object.hasOwn(PARAMETERS, command)) return refusal(id, { name: 'ERR_PACKET_NR' });
  const parameters = PARAMETERS[command as Command].safeParse(value);
  if (parameters.success) return { ok: true, request: { id, command, ...parameters.data } as Request };
  const issue = parameters.error.issues[0];
  if (issue?.message === OPTION_ISSUE) return refusal(id, { name: 'ERR_MANDATORY_TAG', info: [OPTION_ISSUE] });
  if (issue?.message === 'unknown resource') return refusal(id, { name: 'ERR_RES_NOT_KNOWN', info: ['unknown resource'] });
  const text =
    issue === undefined ? 'invalid request' : OWN_TEXTS.has(issue.message) ? issue.message : `${issue.path.join('.')}: ${issue.message}`;
  return refusal(id, { name: 'ERR_INVALID_REQUEST', info: [text] });
}

/** {@link parseRequest} for a line of text. */
export function parseRequestLine(line: string): ParsedRequest {
  const decoded = decodeLine(line);
  return decoded.ok ? parseRequest(decoded.value) : refusal(0, { name: 'ERR_INVALID_REQUEST', info: ['not a line of JSON'] });
}
