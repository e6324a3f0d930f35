import type { CommandIo } from './command-io.js';
import type { Options } from './command-line.js';

/** Asks on stderr; `--force` answers yes, anything but a terminal answers no, and a person has to type the whole word. */
export async function confirmed(question: string, io: CommandIo, options: Options): Promise<boolean> {
  if (isSuppressed(options)) return true;
  io.stderr(`\n${question}\n`);
  if (options.force) {
    io.stderr('*** confirmation forced via --force option ***\n');
    return true;
  }
  if (!io.stdinIsTty) {
    io.stderr('stdin not a TTY, not waiting for confirmation\n');
    return false;
  }
  io.stderr("[need to type 'yes' to confirm] ");
  const answer = await io.readLine();
  io.stderr('\n');
  return answer === 'yes';
}

/** With `--force --quiet` a text that would lead to a question is not printed but counted. */
export function isSuppressed(options: Options): boolean {
  if (!options.force || !options.quiet) return false;
  options.suppressed++;
  return true;
}
