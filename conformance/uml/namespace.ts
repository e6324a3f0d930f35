// A network namespace of the test's own, in which the engine under test and its kernel peers meet.
import { execFileSync } from 'node:child_process';
import { command } from '../vm/host-tools.js';

export interface Namespace {
  readonly name: string;
  /** The words that run a program inside: `ip netns exec NAME ...`. */
  inside(argv: readonly string[]): string[];
  /** Creates a tap device with an address (CIDR) on the host's side. */
  addTap(device: string, address: string): void;
  /** Takes a link down or up. */
  setLink(device: string, state: 'up' | 'down'): void;
  remove(): void;
}

let counter = 0;

function ip(...argv: string[]): void {
  execFileSync(command('ip'), argv, { stdio: ['ignore', 'ignore', 'pipe'] });
}

/** Needs root. Removed when the process exits, if `remove` was not called before. */
export function createNamespace(): Namespace {
  counter += 1;
  const name = `udrbd-${process.pid}-${counter}`;
  ip('netns', 'add', name);
  ip('-n', name, 'link', 'set', 'lo', 'up');
  let removed = false;
  const remove = (): void => {
    if (removed) return;
    removed = true;
    process.off('exit', remove);
    ip('netns', 'delete', name);
  };
  process.on('exit', remove);
  return {
    name,
    inside: (argv) => [command('ip'), 'netns', 'exec', name, ...argv],
    addTap: (device, address) => {
      ip('-n', name, 'tuntap', 'add', 'dev', device, 'mode', 'tap');
      ip('-n', name, 'address', 'add', address, 'dev', device);
      ip('-n', name, 'link', 'set', device, 'up');
    },
    setLink: (device, state) => ip('-n', name, 'link', 'set', device, state),
    remove,
  };
}
