/**
 * The world as a command sees it. Whoever runs a command in process (drbdadm, a test) hands in its own.
 */
export interface CommandIo {
  stdout(text: string): void;
  stderr(text: string): void;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdinIsTty: boolean;
  readonly stdoutIsTty: boolean;
  /** Width of the terminal behind stdout; absent when there is none. */
  readonly columns?: number;
  /** @returns the next line of stdin without its line break, or null at its end */
  readLine(): Promise<string | null>;
  /** @returns what stdin has as soon as it has something, or null at its end; absent: whoever waits for a byte waits for its line */
  readText?(): Promise<string | null>;
  /**
   * Takes the keyboard, key by key.
   * @param restore - written to the terminal when a signal ends the program before `release`
   * @returns undefined when stdin and stdout are not both a terminal; absent where nobody may do that
   */
  openTerminal?(restore: string): Terminal | undefined;
  /** Looks after whoever reads stdout; undefined when that can not be known. */
  watchReader?(): { readonly gone: Promise<void>; stop(): void } | undefined;
  /** Told when the engine has to be started first: that does not count against the time the caller gives the command. */
  engineStarts?(started: Promise<unknown>): void;
}

export interface Terminal {
  readonly columns: number;
  readonly rows: number;
  onKeys(listener: (keys: string) => void): void;
  onResize(listener: () => void): void;
  /** Gives the keyboard back. */
  release(): void;
}

/** Ends a command: what to print and the exit status. Thrown below `run` only, never out of it. */
export class CommandExit extends Error {
  override readonly name = 'CommandExit';
  readonly status: number;
  readonly stdoutText: string;
  readonly stderrText: string;

  constructor(status: number, texts: { readonly stdout?: string; readonly stderr?: string } = {}) {
    super(texts.stderr ?? `exit status ${status}`);
    this.status = status;
    this.stdoutText = texts.stdout ?? '';
    this.stderrText = texts.stderr ?? '';
  }
}

/** Exit statuses that have no other name. */
export const EXIT_USAGE = 20;
export const EXIT_ENGINE_GONE = 121;
