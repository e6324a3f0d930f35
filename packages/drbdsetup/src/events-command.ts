/** `events2`: everything that exists, then everything that changes. */
import { ConnectionClosed, type Notification, RETURN_CODES, type Reply } from '@udrbd/control';
import { createPalette } from './colors.js';
import { CommandExit, EXIT_ENGINE_GONE, EXIT_USAGE } from './command-io.js';
import { answerRefused } from './engine-state.js';
import { createEventPrinter, eventTimestamp } from './events.js';
import { isGiven, type Session } from './invocation.js';
import { wantsColor } from './query-commands.js';

/** Stock leaves out the first of the words that are too many. */
export function refuseExcess({ rest }: Session): void {
  if (rest.length > 0)
    throw new CommandExit(EXIT_USAGE, {
      stderr: `Excess arguments:${rest
        .slice(1)
        .map((word) => ` ${word}`)
        .join('')}\n`,
    });
}

export const engineGone = ({ object }: Session): CommandExit =>
  new CommandExit(EXIT_ENGINE_GONE, { stderr: `${object}: module unloaded\n` });

export async function runEvents(session: Session): Promise<number> {
  const { io, engine } = session;
  const isNow = isGiven(session, 'now');
  const full = isGiven(session, 'full');
  const hasTimestamps = isGiven(session, 'timestamps');
  const palette = createPalette(wantsColor(session));
  refuseExcess(session);
  const printer = createEventPrinter({
    statistics: full || isGiven(session, 'statistics'),
    full,
    diff: isGiven(session, 'diff'),
    palette,
    resource: session.resource,
  });

  let toldInitialState: () => void = () => undefined;
  const initialState = new Promise<void>((resolve) => {
    toldInitialState = resolve;
  });
  const print = (event: Notification) => {
    if (event.kind === '-') toldInitialState();
    const lines = printer.accept(event);
    if (lines.length === 0) return;
    const stamp = hasTimestamps ? `${eventTimestamp(performance.timeOrigin + performance.now())} ` : '';
    io.stdout(lines.map((line) => `${stamp}${line}\n`).join(''));
  };
  /** A rejection is not the end of the world here: whoever waits for it says what it means. */
  const fetch = async (subscribe: boolean): Promise<void> => {
    let last: Reply;
    try {
      last = await engine.events({ subscribe }, print);
    } catch (error) {
      if (error instanceof ConnectionClosed) throw engineGone(session);
      throw error;
    }
    if (last.code !== RETURN_CODES.NO_ERROR.code || subscribe) throw answerRefused(session.object, last);
  };
  const reader = isNow ? undefined : io.watchReader?.();
  const stream = reader === undefined ? fetch(!isNow) : Promise.race([fetch(true), reader.gone]).finally(() => reader.stop());
  if (!isGiven(session, 'poll')) {
    await stream;
    return 0;
  }
  await Promise.race([stream, initialState]);
  const stdin = pollStdin(session, async () => {
    printer.expectInitialState(isNow);
    await fetch(false);
  });
  await (isNow ? stdin : Promise.race([stream, stdin]));
  return 0;
}

/** The byte `n` asks for the state again, a line break means nothing, anything else and the end of input end the command. */
async function pollStdin({ io }: Session, again: () => Promise<void>): Promise<void> {
  const read = () => (io.readText === undefined ? io.readLine() : io.readText());
  for (let text = await read(); text !== null; text = await read()) {
    for (const letter of text) {
      if (letter === '\n') continue;
      if (letter !== 'n') return;
      await again();
    }
  }
}
