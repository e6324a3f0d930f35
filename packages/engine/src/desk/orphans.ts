/** ublk devices of an engine whose journal is lost: nobody takes them over, and what waits for them waits for ever. */
import { type DeviceInfo, isUblkAvailable, UblkControl, ublkBlockPath } from 'ublk-napi';
import { readEnvironment } from './environment.js';
import { readJournal } from './journal.js';
import { findOpeners } from './openers.js';
import { devicesOf, removeLeftDevice } from './ublk-marks.js';

/**
 * Lists the orphans of the run directory, one line each with who has it open, and ends them if told to.
 * @throws NewerJournal, ErrnoError
 */
export async function orphans(removes: boolean, print: (line: string) => void): Promise<void> {
  const environment = readEnvironment(process.env);
  if (!isUblkAvailable()) return;
  const journal = readJournal(environment.journalPath, (_level, text) => print(`# ${text}`));
  const known = new Set((journal?.resources ?? []).flatMap(({ volumes }) => volumes.map(({ minor }) => minor)));
  const control = UblkControl.open();
  try {
    for (const [minor, info] of await devicesOf(control, environment.runDir)) {
      if (known.has(minor) || hasServer(info)) continue;
      const path = ublkBlockPath(info.id);
      const openers = (await findOpeners(path)).map(({ text }) => text);
      if (removes) await removeLeftDevice(control, info.id);
      print(`${path} minor:${minor}${removes ? ' removed' : ''}${openers.map((text) => ` ${text}`).join(',')}`);
    }
  } finally {
    control.close();
  }
}

/** A device of an engine that is just setting it up, too. */
const hasServer = ({ state, serverPid }: DeviceInfo): boolean => state === 'LIVE' || (state === 'DEAD' && isAlive(serverPid));

function isAlive(pid: number): boolean {
  if (pid <= 0) return false;
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
