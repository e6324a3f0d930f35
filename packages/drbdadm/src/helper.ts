/** The tools below drbdadm: how their command lines are shown, how they are run, what their exit codes are answered with. */
import { type ContextName, contextTakes } from './contexts.js';
import type { CommandIo, CommandRun } from './io.js';
import type { Session } from './session.js';

export type Tool = 'drbdsetup' | 'drbdmeta' | 'drbd-proxy-ctl' | '/bin/sh';

export interface Call {
  readonly tool: Tool;
  readonly args: readonly string[];
  /** For `--sh-varname` and DRBD_RESOURCE. */
  readonly resource: string;
  /** Which time limit applies; `none` also leaves out the message about the exit code. */
  readonly limit: 'short' | 'medium' | 'long' | 'none';
  /** `buffer`: held back, for the caller to decide. */
  readonly stderr?: 'show' | 'hide' | 'buffer';
  readonly env?: Readonly<Record<string, string>>;
  /** What the tool of this program is really given, where it differs from what stock shows. */
  readonly inProcessArgs?: readonly string[];
}

export interface CallResult {
  readonly exitCode: number;
  /** Only of a call with `stderr: 'buffer'`. */
  readonly heldBack: string;
}

export const EXEC_FAILED = 20;
const SHOWN_WORD_MAX = 1022;

/** A word as a shell takes it; an empty word shows as nothing, as in stock. */
export function shellEscape(word: string): string {
  return Array.from(word.slice(0, SHOWN_WORD_MAX), (c) => (/[%+\-./0-9:=@A-Z_a-z]/.test(c) || c > '\x7f' ? c : `\\${c}`)).join('');
}

/** The name or path by which a tool is called and shown. */
export function toolName(session: Session, tool: Tool): string {
  const { settings } = session;
  switch (tool) {
    case 'drbdsetup':
      return settings.drbdsetup ?? tool;
    case 'drbdmeta':
      return settings.drbdmeta ?? tool;
    case 'drbd-proxy-ctl':
      return settings.proxyCtl ?? tool;
    default:
      return tool;
  }
}

/** Whether one line per stage is all that is to be seen. */
export const isProgressShown = ({ command, settings }: Session): boolean =>
  command.name === 'adjust-with-progress' && !settings.dryRun && settings.verbose === 0;

/** The backend options that a line of this context takes, in the order of the command line. */
export function backendOptions(session: Session, context: ContextName | undefined): string[] {
  if (context === undefined) return [];
  return session.settings.backendOptions.filter((o) => contextTakes(context, o.name)).map((o) => o.text);
}

function timeoutSeconds(session: Session, limit: Call['limit']): number {
  const { cmdTimeoutShort, cmdTimeoutMedium, cmdTimeoutLong } = session.config.global;
  return { short: cmdTimeoutShort, medium: cmdTimeoutMedium, long: cmdTimeoutLong, none: 0 }[limit];
}

/** Shows the line when asked to. */
export function showLine(session: Session, call: Call): void {
  const { settings, io } = session;
  if (!settings.dryRun && settings.verbose === 0) return;
  if (settings.shVarname !== undefined) io.stdout(`${settings.shVarname}=${shellEscape(call.resource)}\n`);
  io.stdout(`${[toolName(session, call.tool), ...call.args].map(shellEscape).join(' ')}\n`);
}

/** Shows and runs a call; with `-d` only shows it. */
export async function callTool(session: Session, given: Call): Promise<CallResult> {
  const call = isProgressShown(session) && given.stderr !== 'buffer' ? { ...given, stderr: 'hide' as const } : given;
  showLine(session, call);
  if (session.settings.dryRun) return { exitCode: 0, heldBack: '' };
  const name = toolName(session, call.tool);
  const words = [name, ...call.args].join(' ');
  const seconds = timeoutSeconds(session, call.limit);
  const inProcess = inProcessTool(session, call.tool);
  const outcome =
    inProcess === undefined ? await runProgram(session, call, name, seconds) : await runInProcess(session, call, inProcess, seconds);
  if (outcome.timedOut) {
    session.io.stderr(`Command '${words}' did not terminate within ${seconds} seconds\n`);
    return { exitCode: EXEC_FAILED, heldBack: outcome.heldBack };
  }
  if (outcome.exitCode === undefined) {
    session.io.stderr('Can not exec\n');
    return { exitCode: EXEC_FAILED, heldBack: outcome.heldBack };
  }
  const isVisible = (call.stderr ?? 'show') === 'show';
  if (outcome.exitCode >= 10 && call.limit !== 'none' && isVisible)
    session.io.stderr(`Command '${words}' terminated with exit code ${outcome.exitCode}\n`);
  return { exitCode: outcome.exitCode, heldBack: outcome.heldBack };
}

/** Runs a call and gives just its exit code. */
export const run = async (session: Session, call: Call): Promise<number> => (await callTool(session, call)).exitCode;

interface Outcome {
  readonly exitCode: number | undefined;
  readonly timedOut: boolean;
  readonly heldBack: string;
}

/** drbdsetup and drbdmeta are part of this program unless others were asked for. */
function inProcessTool(session: Session, tool: Tool): CommandRun | undefined {
  if (tool === 'drbdsetup' && session.settings.drbdsetup === undefined) return session.io.drbdsetup;
  if (tool === 'drbdmeta' && session.settings.drbdmeta === undefined) return session.io.drbdmeta;
  return undefined;
}

const callEnv = (session: Session, call: Call): Record<string, string | undefined> => ({
  ...session.io.env,
  DRBD_RESOURCE: call.resource,
  ...call.env,
});

async function runInProcess(session: Session, call: Call, tool: CommandRun, seconds: number): Promise<Outcome> {
  let heldBack = '';
  const { io } = session;
  let timer: NodeJS.Timeout | undefined;
  let giveUp: (none: undefined) => void = () => {};
  const limit = new Promise<undefined>((resolve) => {
    giveUp = resolve;
  });
  const startTimer = (): void => {
    if (seconds !== 0) timer = setTimeout(giveUp, seconds * 1000, undefined);
  };
  const toolIo: CommandIo = {
    stdout: (text) => io.stdout(text),
    stderr: (text) => {
      if (call.stderr === 'buffer') heldBack += text;
      else if (call.stderr !== 'hide') io.stderr(text);
    },
    env: callEnv(session, call),
    stdinIsTty: io.stdinIsTty,
    stdoutIsTty: io.stdoutIsTty,
    ...(io.columns === undefined ? {} : { columns: io.columns }),
    readLine: () => io.readLine(),
    engineStarts: (started) => {
      clearTimeout(timer);
      started.then(startTimer, startTimer);
    },
  };
  startTimer();
  const exitCode = await Promise.race([tool([...(call.inProcessArgs ?? call.args)], toolIo), limit]);
  clearTimeout(timer);
  return { exitCode, timedOut: exitCode === undefined, heldBack };
}

async function runProgram(session: Session, call: Call, file: string, seconds: number): Promise<Outcome> {
  const stderr = { show: 'inherit', hide: 'ignore', buffer: 'capture' } as const;
  const result = await session.io.spawn({
    file,
    args: call.args,
    env: callEnv(session, call),
    stdout: 'inherit',
    stderr: stderr[call.stderr ?? 'show'],
    timeoutMs: seconds * 1000,
  });
  return { exitCode: result.exitCode, timedOut: result.timedOut, heldBack: result.stderr };
}

/** Runs drbdsetup or drbdmeta for what it prints; never shown, stderr dropped. */
export async function captureOutput(
  session: Session,
  tool: 'drbdsetup' | 'drbdmeta' | 'drbd-proxy-ctl',
  args: readonly string[],
): Promise<{ exitCode: number; stdout: string }> {
  const inProcess = inProcessTool(session, tool);
  const { io } = session;
  if (inProcess === undefined) {
    const result = await io.spawn({
      file: toolName(session, tool),
      args,
      env: io.env,
      stdout: 'capture',
      stderr: 'ignore',
      timeoutMs: 0,
    });
    return { exitCode: result.exitCode ?? EXEC_FAILED, stdout: result.stdout };
  }
  let stdout = '';
  const decoder = new TextDecoder();
  const exitCode = await inProcess([...args], {
    stdout: (text) => {
      stdout += typeof text === 'string' ? text : decoder.decode(text);
    },
    stderr: () => {},
    env: io.env,
    stdinIsTty: false,
    stdoutIsTty: false,
    readLine: async () => null,
  });
  return { exitCode, stdout };
}
