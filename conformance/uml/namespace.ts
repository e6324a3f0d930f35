// A network namespace of the test's own, in which the engine under test and its kernel peers meet: a bridge with the host's address,
// and one tap device for each peer.
import { execFileSync } from 'node:child_process';
import { command } from '../vm/host-tools.js';

/** Where programs that run inside are reached. */
export const HOST_ADDRESS = '10.98.0.254';

export interface Namespace {
  readonly name: string;
  /** The words that run a program inside: `ip netns exec NAME ...`. */
  inside(argv: readonly string[]): string[];
  /** Gives the host one more address, such as 10.98.0.253. */
  addAddress(address: string): void;
  /** Creates a tap device on the bridge; one that is there already is plugged in. */
  addTap(device: string): void;
  /** Pulls the cable between a tap device and the bridge, or plugs it in: frames vanish, no end is told. */
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
  // An address of its own: it would take one from its ports, and change it with them.
  ip('-n', name, 'link', 'add', 'bridge', 'address', '52:54:00:98:00:fe', 'type', 'bridge');
  ip('-n', name, 'address', 'add', `${HOST_ADDRESS}/24`, 'dev', 'bridge');
  ip('-n', name, 'link', 'set', 'bridge', 'up');
  const taps = new Set<string>();
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
    addAddress: (address) => ip('-n', name, 'address', 'add', `${address}/24`, 'dev', 'bridge'),
    addTap: (device) => {
      if (!taps.has(device)) ip('-n', name, 'tuntap', 'add', 'dev', device, 'mode', 'tap');
      taps.add(device);
      ip('-n', name, 'link', 'set', device, 'master', 'bridge', 'up');
    },
    setLink: (device, state) => ip('-n', name, 'link', 'set', device, ...(state === 'up' ? ['master', 'bridge'] : ['nomaster'])),
    remove,
  };
}
