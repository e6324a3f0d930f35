/** `status --watch`: the state on a terminal, kept up to date until a key ends it. */
import type { PeerDeviceSnapshot, ResourceSnapshot } from '@udrbd/control';
import { CommandExit, EXIT_USAGE, type Terminal } from './command-io.js';
import { resourcesOf } from './engine-state.js';
import type { Session } from './invocation.js';
import { progressLine } from './progress-bar.js';
import { resourceStatus, type StatusStyle, sortedResources } from './status.js';

const REFRESH_MS = 1000;
/** Columns in front of a bar. */
const BAR_INDENT = 8;

/** A screen of its own, so that what was on the terminal before is there again afterwards. What is too long is cut off, not wrapped. */
const ENTER = '\x1b[?1049h\x1b[?25l\x1b[?7l';
const LEAVE = '\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l';
/** The rules for line breaks are stock's: a line may be longer than it should be by its indentation. */
const OVERHANG = 9;
const HOME = '\x1b[H';
const CLEAR_LINE = '\x1b[K';
const CLEAR_BELOW = '\x1b[J';

const QUIT = new Set(['q', 'Q', '\x03', '\x04']);
/** Keys that move the view, in lines; Infinity stands for a page. */
const MOVES: Readonly<Record<string, number>> = {
  j: 1,
  '\x1b[B': 1,
  '\x1bOB': 1,
  k: -1,
  '\x1b[A': -1,
  '\x1bOA': -1,
  ' ': Number.POSITIVE_INFINITY,
  '\x1b[6~': Number.POSITIVE_INFINITY,
  b: Number.NEGATIVE_INFINITY,
  '\x1b[5~': Number.NEGATIVE_INFINITY,
};

export interface View {
  readonly columns: number;
  readonly rows: number;
  /** First line that is shown. */
  readonly top: number;
}

/** What there is to see: the text of status with a bar below what is being synchronised. */
export function watchedLines(resources: readonly ResourceSnapshot[], style: StatusStyle, columns: number): string[] {
  if (resources.length === 0) return ['# No currently configured DRBD found.'];
  const below = ({ statistics }: PeerDeviceSnapshot): string | undefined => progressLine(statistics, columns - BAR_INDENT);
  return resources
    .map((resource) => resourceStatus(resource, { ...style, width: Math.max(1, columns - OVERHANG), below }))
    .join('')
    .trimEnd()
    .split('\n');
}

/** @returns as many lines as the terminal has, the last one being the foot */
export function screen(lines: readonly string[], { columns, rows, top }: View): string[] {
  const room = Math.max(1, rows - 1);
  const shown = lines.slice(top, top + room);
  const hidden = lines.length - shown.length;
  const foot = hidden === 0 ? 'q quits' : `q quits, j and k move; ${top} lines above, ${hidden - top} below`;
  return [...shown, ...new Array<string>(room - shown.length).fill(''), foot.slice(0, columns)];
}

export async function watchStatus(session: Session, style: StatusStyle): Promise<number> {
  const { io, resource: wanted } = session;
  const terminal: Terminal | undefined = io.stdoutIsTty ? io.openTerminal?.(LEAVE) : undefined;
  if (terminal === undefined) throw new CommandExit(EXIT_USAGE, { stderr: '--watch needs a terminal\n' });
  let resources: readonly ResourceSnapshot[] = [];
  let top = 0;
  const draw = (move = 0) => {
    const { columns, rows } = terminal;
    const lines = watchedLines(resources, style, columns);
    const page = Math.max(1, rows - 1);
    top = Math.max(0, Math.min(top + Math.max(-page, Math.min(page, move)), lines.length - page));
    const text = screen(lines, { columns, rows, top }).map((line) => line + CLEAR_LINE);
    io.stdout(`${HOME}${text.join('\r\n')}${CLEAR_BELOW}`);
  };
  let timer: NodeJS.Timeout | undefined;
  io.stdout(ENTER);
  try {
    return await new Promise<number>((resolve, reject) => {
      terminal.onKeys((keys) => {
        // An escape sequence arrives in one piece; typed keys may come several at once.
        for (const key of MOVES[keys] === undefined ? keys : [keys]) {
          if (QUIT.has(key)) return resolve(0);
          draw(MOVES[key]);
        }
      });
      terminal.onResize(() => draw());
      const refresh = async (): Promise<void> => {
        resources = sortedResources(await resourcesOf(session, wanted));
        draw();
        timer = setTimeout(() => void refresh().catch(reject), REFRESH_MS);
      };
      refresh().catch(reject);
    });
  } finally {
    clearTimeout(timer);
    terminal.release();
    io.stdout(LEAVE);
  }
}
