/** Handlers: `drbdadm <handler> <resource>` as a child process, with DRBD 9's environment. Source: drbd_nl.c, drbd_maybe_khelper. */
import { spawn } from 'node:child_process';
import type { Log } from './log.js';

export interface HandlerCall {
  readonly handler: string;
  readonly resource: string;
  /** `DRBD_MINOR` and the like. */
  readonly variables: Readonly<Record<string, string>>;
}

const BASE_ENVIRONMENT = { HOME: '/', TERM: 'linux', PATH: '/sbin:/usr/sbin:/bin:/usr/bin:/usr/local/sbin:/usr/local/bin' };
/** What a handler's own drbdsetup needs to find this engine. */
const PASSED_ON = /^(UDRBD_|DRBD_)/;

/** A handler that could not be run counts as a success, as in DRBD. */
export const HANDLER_NOT_RUN = -1;

/**
 * Runs one handler to its end.
 * @param helper - program and first arguments; undefined: nothing is run
 * @returns its exit code, 128 + signal when it was killed, or HANDLER_NOT_RUN
 */
export function runHandler(helper: readonly string[] | undefined, call: HandlerCall, log: Log): Promise<number> {
  const [program, ...first] = helper ?? [];
  if (program === undefined) return Promise.resolve(HANDLER_NOT_RUN);
  const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => PASSED_ON.test(name)));
  log('info', `drbd ${call.resource}: helper command: ${program} ${call.handler}`);
  return new Promise((resolve) => {
    const child = spawn(program, [...first, call.handler, call.resource], {
      cwd: '/',
      env: { ...BASE_ENVIRONMENT, ...inherited, ...call.variables },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => log('info', `drbd ${call.resource}: ${call.handler}: ${text.trimEnd()}`));
    child.on('error', (error) => {
      log('warning', `drbd ${call.resource}: helper command: ${program} ${call.handler}: ${error.message}`);
      resolve(HANDLER_NOT_RUN);
    });
    child.on('close', (code, signal) => {
      const exitCode = code ?? 128 + (signal === null ? 0 : 1);
      log(
        'info',
        `drbd ${call.resource}: helper command: ${program} ${call.handler} exit code ${exitCode} (0x${(exitCode * 256).toString(16)})`,
      );
      resolve(exitCode);
    });
  });
}
