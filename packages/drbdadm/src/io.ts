/** The world as drbdadm sees it. `node-io.ts` makes the real one; tests make their own. */
import type { Address, ConfigSource } from '@udrbd/config';

/** What the commands below drbdadm are given; the same shape as theirs. */
export interface CommandIo {
  stdout(text: string | Uint8Array): void;
  stderr(text: string): void;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdinIsTty: boolean;
  readonly stdoutIsTty: boolean;
  readonly columns?: number;
  readLine(): Promise<string | null>;
  /** Told when the engine has to be started first: that does not count against the command's time limit. */
  engineStarts?(started: Promise<unknown>): void;
}

export type CommandRun = (argv: string[], io: CommandIo) => Promise<number>;

export interface Spawn {
  readonly file: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** `inherit` shows it, `ignore` drops it, `capture` hands it back. */
  readonly stdout: 'inherit' | 'capture';
  readonly stderr: 'inherit' | 'ignore' | 'capture';
  /** 0 = wait for ever. */
  readonly timeoutMs: number;
}

export interface SpawnResult {
  /** Undefined when the program could not be started. */
  readonly exitCode: number | undefined;
  readonly timedOut: boolean;
  readonly stdout: string;
  readonly stderr: string;
}

export interface AdmIo extends CommandIo {
  /** Name by which messages call this program. */
  readonly programName: string;
  /** Whether somebody reads the messages at a terminal, who can be shown more. */
  readonly stderrIsTty?: boolean;
  readonly cwd: string;
  readonly hostName: string;
  readonly source: ConfigSource;
  /** Everything there is on stdin, for `-c -`. */
  readStdin(): string;
  /** Whether the address is configured on an interface that is up. */
  isLocalAddress(address: Address): boolean;
  isDrbdDevice(path: string): boolean;
  isExecutable(path: string): boolean;
  /** Whether the file, as seen from the directory, can be opened. */
  isReadable(directory: string, name: string): boolean;
  /** Runs a program with our stdin. */
  spawn(request: Spawn): Promise<SpawnResult>;
  /** The commands that are part of this program; loaded when called. */
  readonly drbdsetup: CommandRun;
  readonly drbdmeta: CommandRun;
  sleep(ms: number): Promise<void>;
  /** Size of /dev/drbdN in bytes; undefined when there is no such device. */
  deviceSize(minor: number): number | undefined;
  /** A random number of 64 bits as 16 hex digits. */
  randomUuid(): string;
  /** The registry of who was configured from which file. */
  register(link: string, file: string): void;
  registered(link: string): string | undefined;
  unregister(link: string): void;
}
