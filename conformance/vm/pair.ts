// Two virtual machines joined by a network of their own.
import { removeNetwork, runVm, type VmOptions, type VmResult } from './machine.js';

export interface PairOptions extends Omit<VmOptions, 'script' | 'args' | 'net' | 'onOutput' | 'out'> {
  /** What runs in 10.99.0.1 and in 10.99.0.2; VM_NODE, VM_ADDRESS and VM_PEER_ADDRESS tell a script where it is. */
  readonly scripts: readonly [string, string];
  /** Gets the output of both, line by line. */
  readonly onLine?: (node: 0 | 1, line: string) => void;
}

/** Runs both to their end; each has the whole time limit, so both are over when it is. */
export async function runPair(options: PairOptions): Promise<readonly [VmResult, VmResult]> {
  const { scripts, onLine, ...rest } = options;
  const name = `pair-${process.pid}-${Date.now().toString(36)}`;
  const start = async (node: 0 | 1): Promise<VmResult> => {
    let partial = '';
    const result = await runVm({
      ...rest,
      script: scripts[node],
      net: { name, node },
      onOutput: (chunk) => {
        const lines = (partial + chunk.toString()).split('\n');
        partial = lines.pop() ?? '';
        for (const line of lines) onLine?.(node, line);
      },
    });
    if (partial !== '') onLine?.(node, partial);
    return result;
  };
  try {
    return await Promise.all([start(0), start(1)]);
  } finally {
    removeNetwork(name);
  }
}
