// Is the minor in use by an engine? Asked through the hook of the caller (drbdadm has a connection already), else by running
// drbdsetup as the stock tool does.

import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import type { CommandIo } from './command-io.js';
import { Exit } from './exit.js';
import { errnoOf } from './strerror.js';

/** Disk states in DRBD's order; everything after Diskless means attached. */
const DISK_STATES = [
  'Diskless',
  'Attaching',
  'Detaching',
  'Failed',
  'Negotiating',
  'Inconsistent',
  'Outdated',
  'DUnknown',
  'Consistent',
  'UpToDate',
];

export async function isAttached(minor: number, io: CommandIo): Promise<boolean> {
  if (io.isAttached) return io.isAttached(minor);
  // Asking must not start an engine: without one nothing is attached.
  const env = { ...io.env, UDRBD_NO_START: '1' };
  const ask = (program: string): SpawnSyncReturns<string> =>
    spawnSync(program, ['dstate', `${minor}`], { env, stdio: ['inherit', 'pipe', 'ignore'], encoding: 'utf8' });
  let result = ask('drbdsetup');
  // Not in PATH: the one that was installed beside this command.
  if (errnoOf(result.error) === 'ENOENT') result = ask(join(dirname(process.argv[1] ?? '/'), 'drbdsetup'));
  if (result.error || result.status === 10 || result.status === 20 || result.signal) return false;
  const word = /^[^/\s]*/.exec(result.stdout)![0];
  if (result.stdout === '') {
    io.stderr('read from drbdsetup\n: Success\n');
    throw new Exit(20);
  }
  if (word === 'Unconfigured') return false;
  const state = DISK_STATES.findIndex((name) => word !== '' && word.startsWith(name));
  if (state < 0) {
    io.stderr(`Unexpected output from drbdsetup >${result.stdout.replace(/\n$/, '')}<\n`);
    throw new Exit(20);
  }
  return state > 0;
}
