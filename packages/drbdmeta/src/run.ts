import { isAttached } from './attached.js';
import type { CommandIo } from './command-io.js';
import { checkOptions, parseCommandLine } from './command-line.js';
import type { Device } from './device.js';
import { dialectOf } from './dialect.js';
import { Exit } from './exit.js';
import { lockMinor, type MinorLock } from './minor-lock.js';
import { errnoOf, strerror } from './strerror.js';

/**
 * Runs one drbdmeta command in this process.
 * @param argv - arguments without the program name
 * @returns the exit status
 */
export async function run(argv: string[], io: CommandIo): Promise<number> {
  let lock: MinorLock | undefined;
  const opened: Device[] = [];
  try {
    const dialect = dialectOf(io.env);
    const invocation = parseCommandLine(argv, io, dialect);
    const { command, minor, deviceName } = invocation;
    let attached = false;
    if (minor !== undefined) {
      lock = await lockMinor(minor, io.env.UDRBD_LOCK_DIR ?? dialect.lockDir, io);
      attached = await isAttached(minor, io);
      if (attached && command.modifies) {
        io.stderr(`Device '${deviceName}' is configured!\n`);
        return 20;
      }
    }
    checkOptions(invocation, io);
    const { options } = invocation;
    const status = await command.run({ io, invocation, dialect, opened, openFiles: 0 });
    if (attached) io.stderr(`# Output might be stale, since minor ${minor} is attached\n`);
    if (options.suppressed > 0) {
      io.stderr(`# --force --quiet: ${options.suppressed} confirmation(s) suppressed and auto-confirmed\n`);
    }
    return status;
  } catch (error) {
    if (error instanceof Exit) return error.status;
    if (errnoOf(error) === undefined) throw error;
    io.stderr(`drbdmeta: ${strerror(error)}\n`);
    return 20;
  } finally {
    for (const device of opened) device.close();
    lock?.release();
  }
}
