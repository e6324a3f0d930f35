/** A world for drbdadm in memory: files, and tools that write down what they were told. */

import type { AdmIo, CommandIo } from '../io.js';
import { nodeIo } from '../node-io.js';
import { run } from '../run.js';

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  /** Command lines of drbdsetup and drbdmeta, in order. */
  readonly calls: readonly string[];
}

export interface StubOptions {
  /** Exit code and output of a tool; 0 and nothing by default. */
  readonly tool?: (line: string, io: CommandIo) => number | undefined;
  readonly env?: Readonly<Record<string, string>>;
  /** What else of the world is another one. */
  readonly io?: Partial<AdmIo>;
}

/** Runs drbdadm as node alpha with the text as its configuration. */
export async function runDrbdadm(
  config: string,
  words: readonly string[],
  { tool, env = {}, io: world = {} }: StubOptions = {},
): Promise<Ran> {
  let stdout = '';
  let stderr = '';
  const calls: string[] = [];
  const called = (name: string) => async (argv: string[], io: CommandIo) => {
    const line = [name, ...argv].join(' ');
    calls.push(line);
    return tool?.(line, io) ?? 0;
  };
  const io: AdmIo = {
    ...nodeIo(),
    stdout: (text) => {
      stdout += typeof text === 'string' ? text : new TextDecoder().decode(text);
    },
    stderr: (text) => {
      stderr += text;
    },
    env: { UDRBD_NODE: 'alpha', ...env },
    stdinIsTty: false,
    stdoutIsTty: false,
    readStdin: () => config,
    isLocalAddress: () => true,
    drbdsetup: called('drbdsetup'),
    drbdmeta: called('drbdmeta'),
    deviceSize: () => undefined,
    register: () => {},
    registered: () => undefined,
    unregister: () => {},
    randomUuid: () => '0123456789ABCDEF',
    ...world,
  };
  const code = await run(['-c', '-', ...words], io);
  return { code, stdout, stderr, calls };
}
