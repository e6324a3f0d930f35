/** Where the daemon lives and what it uses, from the environment. docs/engine.md lists the variables. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { PROTOCOL_VERSIONS, type ProtocolVersions } from '@udrbd/replication';
import type { FrontEndKind } from '../reactor/messages.js';
import { type MetricsAddress, parseMetricsAddress } from './metrics-server.js';

export interface EngineEnvironment {
  readonly runDir: string;
  readonly journalPath: string;
  readonly devDir: string;
  readonly frontEnd: FrontEndKind;
  /** Program and first arguments of a handler call; undefined: handlers are not run. */
  readonly helper: readonly string[] | undefined;
  /** Payload memory in bytes: of the block devices, of data from peers, of data read for peers. */
  readonly arenaBytes: readonly [number, number, number];
  readonly lockMemory: boolean;
  /** What is offered to peers. */
  readonly protocolVersions: ProtocolVersions;
  readonly applicationSlots: number;
  readonly peerSlots: number;
  /** Where the metrics are served; undefined: nowhere. */
  readonly metrics: MetricsAddress | undefined;
}

const MIB = 1 << 20;
const POOL_MIB_DEFAULT = 32;
const FRONT_ENDS: readonly string[] = ['ublk', 'nbd', 'none'] satisfies FrontEndKind[];

/** @throws RangeError for a value that is out of range or unknown */
export function readEnvironment(env: NodeJS.ProcessEnv): EngineEnvironment {
  const number = (name: string, min: number, max: number, preset: number): number => {
    const text = env[name];
    if (text === undefined || text === '') return preset;
    const value = Number(text);
    if (!Number.isInteger(value) || value < min || value > max) throw new RangeError(`${name}=${text}: not a number from ${min} to ${max}`);
    return value;
  };
  const frontEnd = env.UDRBD_FRONT_END || (existsSync('/dev/ublk-control') ? 'ublk' : 'nbd');
  if (!FRONT_ENDS.includes(frontEnd)) throw new RangeError(`UDRBD_FRONT_END=${frontEnd}: not one of ${FRONT_ENDS.join(', ')}`);
  const poolBytes = number('UDRBD_POOL_MIB', 8, 65536, POOL_MIB_DEFAULT) * MIB;
  const runDir = env.UDRBD_RUN_DIR || '/run/udrbd';
  const { min: oldest, max: newest } = PROTOCOL_VERSIONS;
  const min = number('UDRBD_PROTOCOL_VERSION_MIN', oldest, newest, oldest);
  return {
    runDir,
    journalPath: `${runDir}/journal.json`,
    devDir: env.UDRBD_DEV_DIR || '/dev',
    frontEnd: frontEnd as FrontEndKind,
    helper: helperOf(env.UDRBD_USERMODE_HELPER),
    arenaBytes: [poolBytes / 2, poolBytes / 4, poolBytes / 4],
    lockMemory: env.UDRBD_NO_MLOCK !== '1',
    protocolVersions: { min, max: number('UDRBD_PROTOCOL_VERSION_MAX', min, newest, newest) },
    applicationSlots: number('UDRBD_APPLICATION_SLOTS', 16, 8192, 1024),
    peerSlots: number('UDRBD_PEER_SLOTS', 16, 8192, 1024),
    metrics: env.UDRBD_METRICS ? parseMetricsAddress(env.UDRBD_METRICS) : undefined,
  };
}

/**
 * The analogue of the module parameter `usermode_helper`: a program; `disabled` or nothing runs no handler at all.
 * The default is the drbdadm that was bundled with the engine, else the one in PATH.
 */
function helperOf(setting: string | undefined): readonly string[] | undefined {
  if (setting === 'disabled' || setting === '') return undefined;
  if (setting !== undefined) return [setting];
  const beside = ['./drbdadm.js', '../drbdadm.js'].map((place) => fileURLToPath(new URL(place, import.meta.url)));
  const bundled = beside.find((path) => existsSync(path));
  return bundled === undefined ? ['drbdadm'] : [process.execPath, bundled];
}
