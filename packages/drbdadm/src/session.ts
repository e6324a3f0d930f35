/** One run of drbdadm: its options, its configuration, and what the commands need to know about both. */
import type { Config, Connection, LoadedShow, Path, Resource, Volume } from '@udrbd/config';
import type { Command } from './commands.js';
import type { AdmIo } from './io.js';

/** An option for the tools below, as `--name` or `--name=value`. */
export interface BackendOption {
  readonly name: string;
  readonly text: string;
}

export interface Settings {
  readonly stackedMode: boolean;
  readonly dryRun: boolean;
  readonly verbose: number;
  readonly configFile: string | undefined;
  readonly configsToTest: readonly string[];
  readonly configsToExclude: readonly string[];
  readonly drbdsetup: string | undefined;
  readonly drbdmeta: string | undefined;
  readonly proxyCtl: string | undefined;
  readonly shVarname: string | undefined;
  /** Those given behind `--` or with -W first, then the command's own, each in the order of the command line. */
  readonly backendOptions: readonly BackendOption[];
}

export interface Session {
  readonly io: AdmIo;
  readonly settings: Settings;
  readonly command: Command;
  readonly config: Config;
  readonly nodeName: string;
  /** Follows the resource at hand when resources are named. */
  stackedMode: boolean;
  /** `drbdsetup show` of everything, once it has been read. */
  running: LoadedShow | undefined;
  /** Set when nothing more may be done. */
  fatalExitCode: number | undefined;
  /** More than one resource is worked on, so one look at the running state serves all. */
  readonly manyResources: boolean;
}

/** What a command is about to work on. Parts not named are looped over, if the command does. */
export interface Target {
  readonly res: Resource;
  readonly volume?: Volume | undefined;
  readonly connection?: Connection | undefined;
  readonly path?: Path | undefined;
  /** As given on the command line. */
  readonly argument: string;
}

export const isTty = (io: AdmIo): boolean => io.stdinIsTty && io.stdoutIsTty;

/** The value of one of the command's options; `yes` for one without value, undefined when it was not given. */
export function givenOption(session: Session, name: string): string | undefined {
  const found = session.settings.backendOptions.filter((o) => o.name === name).at(-1);
  if (found === undefined) return undefined;
  const equals = found.text.indexOf('=');
  return equals < 0 ? 'yes' : found.text.slice(equals + 1);
}
