// Runs our drbdmeta in this process, with everything it prints caught.

import { type CommandIo, run } from '../../packages/drbdmeta/src/index.js';

export interface Result {
  readonly stdout: string;
  readonly stderr: string;
  readonly exit: number;
}

/** @param tty - what a person at a terminal types; undefined: standard input is empty and no terminal */
export async function runOurs(
  argv: string[],
  env: Record<string, string | undefined>,
  tty?: string,
  extra: Partial<CommandIo> = {},
): Promise<Result> {
  const typed = tty?.split('\n') ?? [];
  const out: string[] = [];
  const err: string[] = [];
  const io: CommandIo = {
    stdout: (text) => void out.push(typeof text === 'string' ? text : Buffer.from(text).toString('latin1')),
    stderr: (text) => void err.push(text),
    env,
    stdinIsTty: tty !== undefined,
    stdoutIsTty: false,
    readLine: () => Promise.resolve(typed.shift() ?? null),
    readAll: () => new Uint8Array(0),
    ...extra,
  };
  const exit = await run(argv, io);
  return { stdout: out.join(''), stderr: err.join(''), exit };
}

/** Takes date and host out of a dump's header. */
export const withoutHeader = (text: string): string =>
  text
    .replace(/^# \d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4} \[\d+\]$/gm, '# @DATE@')
    .replace(/^# [^ \n]+> /gm, '# @HOST@> ')
    .replace(/"dump_time_utc": "[^"]*Z"/, '"dump_time_utc": "@DATE@Z"')
    .replace(/"dump_host": "[^"]*"/, '"dump_host": "@HOST@"')
    .replace(/currently held by pid:\d+/, 'currently held by pid:@PID@');

/** Takes out the lines of failed assertions, too, which name lines of a source file. */
export const withoutAssertions = (text: string): string =>
  withoutHeader(text).replace(/^.*drbdmeta\.c:\d+:\w+: ASSERT\(.*\) failed\.\n/gm, '');

/**
 * Takes out what differs from drbd-utils 9.22 on purpose: the flags in a v08 dump (9.22 prints 0), the `members` line (9.22
 * loses them), the source line of its assertions.
 */
export const withoutKnownDifferences = (text: string): string =>
  withoutAssertions(text)
    .replace(/^(uuid \{\n.*\n {4}flags )0x[0-9A-F]{8};$/m, '$10x????????;')
    .replace(/^members 0x[0-9A-F]{16};\n/m, '');

/** Splits a command line as the shell does, as far as the recorded ones need it. */
export function shellWords(line: string): string[] {
  return [...line.matchAll(/(?:[^\s'"]+|'[^']*'|"[^"]*")+/g)].map((m) => m[0].replace(/'([^']*)'|"([^"]*)"/g, '$1$2'));
}
