/** `resize` and `check-resize`. */
import { hasDisk, parseNumber } from '@udrbd/config';
import { type Action, configuredSize } from './actions.js';
import type { Command } from './commands.js';
import { backendOptions, run } from './helper.js';
import { metaCall, minorOf, setupCall } from './lines.js';
import { givenOption, type Session, type Target } from './session.js';

const POLL_MS = 100;

/** Resizes, then lets the meta-data remember the size, after the device has taken it on. */
export const resize: Action = (session, target, command) => resizeDevice(session, target, command, 'show');

async function resizeDevice(session: Session, target: Target, command: Command, stderr: 'show' | 'hide'): Promise<number> {
  const { io, settings } = session;
  const volume = target.volume!;
  const minor = volume.minor ?? 0;
  const given = givenOption(session, 'size');
  const configured = given === undefined ? configuredSize(target) : undefined;
  const sizeArgument = configured === undefined ? [] : [`--size=${configured}`];
  const before = settings.dryRun ? undefined : io.deviceSize(minor);
  const wanted = targetBytes(given ?? configured);
  const args = [minorOf(volume), ...sizeArgument, ...backendOptions(session, command.context)];
  const code = await run(session, { ...setupCall(target.res.name, 'medium', 'resize', ...args), stderr });
  if (!settings.dryRun) {
    const now = io.deviceSize(minor);
    if (code !== 0) {
      if (wanted === undefined || now !== wanted) return code;
      io.stderr(`Current size of drbd${minor} equals target size (${wanted} byte), exit code ${code} ignored.\n`);
    } else if (before !== undefined && !(await sizeChanges())) return 1;
  }
  return run(session, { ...setupCall(target.res.name, 'medium', 'check-resize', minorOf(volume)), stderr });

  /** Up to 3 s, 10 s when we know what to wait for. A size that was right from the start has nothing to change. */
  async function sizeChanges(): Promise<boolean> {
    const seconds = wanted === undefined ? 3 : 10;
    for (let waited = 0; waited < seconds * 1000; waited += POLL_MS) {
      const size = io.deviceSize(minor);
      if (wanted === undefined ? size !== before : size === wanted) return true;
      await io.sleep(POLL_MS);
    }
    return false;
  }
}

/** Bytes of a size argument; undefined for none or zero, which means all there is. */
function targetBytes(text: string | undefined): number | undefined {
  const sectors = text === undefined ? null : parseNumber(text, 512);
  return typeof sectors === 'bigint' && sectors > 0n ? Number(sectors) * 512 : undefined;
}

export const checkResize: Action = async (session, target, command) => {
  const { res, volume } = target;
  const code = await resizeDevice(session, target, command, 'hide');
  if (code === 0) return 0;
  if (!hasDisk(volume!)) {
    session.io.stderr(`No backing device configured for drbd${volume!.minor}, cannot fall back to drbdmeta.\n`);
    return code;
  }
  return run(session, metaCall(res.name, volume!, ['check-resize']));
};
