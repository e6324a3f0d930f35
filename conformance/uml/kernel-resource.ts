// A resource of one volume on a kernel peer, configured with the stock low-level commands.
import { eventually } from '../engine/eventually.js';
import type { UmlPeer } from './peer.js';

export interface KernelResourceOptions {
  readonly peer: UmlPeer;
  readonly name: string;
  readonly minor: number;
  /** Block device in the guest; the meta-data (v08, internal) is at its end. */
  readonly disk: string;
  readonly port: number;
  /** ADDRESS:PORT of the other side; the namespace's address with the same port by default. */
  readonly remote?: string;
  readonly protocol?: 'A' | 'B' | 'C';
  /** Further words for `drbdsetup-84 connect`, `attach` and `resource-options`. */
  readonly netOptions?: readonly string[];
  readonly diskOptions?: readonly string[];
  readonly resourceOptions?: readonly string[];
}

/** The line of /proc/drbd, in its own words. Counters in KiB except al and bm (transactions), lo pe ua ap (requests), ep. */
export interface KernelState {
  readonly cs: string;
  readonly role: string;
  readonly peerRole: string;
  readonly disk: string;
  readonly peerDisk: string;
  readonly protocol: string;
  readonly flags: string;
  readonly counters: Readonly<Record<'ns' | 'nr' | 'dw' | 'dr' | 'al' | 'bm' | 'lo' | 'pe' | 'ua' | 'ap' | 'ep' | 'oos', number>>;
}

/** The state of a minor in the text of /proc/drbd; undefined when it is not configured. */
export function parseProcDrbd(text: string, minor: number): KernelState | undefined {
  const block = new RegExp(`^ *${minor}: (cs:.*\\n(?: {4,}.*\\n?)*)`, 'm').exec(text)?.[1];
  const [, cs, role, peerRole, disk, peerDisk, protocol, flags] =
    /^cs:(\S+) ro:(\w+)\/(\w+) ds:(\w+)\/(\w+) (.) (\S+)/.exec(block ?? '') ?? [];
  if (block === undefined || cs === undefined) return undefined;
  const counter = (name: string): number => Number(new RegExp(`\\b${name}:(\\d+)`).exec(block)?.[1] ?? 0);
  const names = ['ns', 'nr', 'dw', 'dr', 'al', 'bm', 'lo', 'pe', 'ua', 'ap', 'ep', 'oos'] as const;
  const counters = Object.fromEntries(names.map((name) => [name, counter(name)])) as KernelState['counters'];
  return { cs, role: role!, peerRole: peerRole!, disk: disk!, peerDisk: peerDisk!, protocol: protocol!, flags: flags!, counters };
}

export class KernelResource {
  readonly options: KernelResourceOptions;

  constructor(options: KernelResourceOptions) {
    this.options = options;
  }

  /** drbdmeta on this disk. */
  meta(words: string): Promise<string> {
    const { peer, minor, disk } = this.options;
    return peer.run(`DRBD_DONT_WARN_ON_VERSION_MISMATCH=1 drbdmeta --force ${minor} v08 ${disk} internal ${words}`);
  }

  /** drbdsetup-84 with the words of a command. */
  setup(words: string): Promise<string> {
    return this.options.peer.run(`drbdsetup-84 ${words}`);
  }

  createMetaData(): Promise<string> {
    return this.meta('create-md');
  }

  /** Creates resource and minor, attaches. */
  async attach(): Promise<void> {
    const { name, minor, disk, diskOptions = [], resourceOptions = [] } = this.options;
    await this.setup(`new-resource ${[name, ...resourceOptions].join(' ')}`);
    await this.setup(`new-minor ${name} ${minor} 0`);
    await this.setup(`attach ${[minor, disk, disk, 'internal', ...diskOptions].join(' ')}`);
  }

  /** Both addresses, which name the connection in low-level commands. */
  get ends(): string {
    const { peer, port, remote } = this.options;
    return `ipv4:${peer.address}:${port} ipv4:${remote ?? `${peer.hostAddress}:${port}`}`;
  }

  /** @param more - further words, for this time */
  async connect(more: readonly string[] = []): Promise<void> {
    const { name, protocol = 'C', netOptions = [] } = this.options;
    await this.setup(`connect ${[name, this.ends, `--protocol=${protocol}`, ...netOptions, ...more].join(' ')}`);
  }

  async disconnect(options: { readonly force?: boolean } = {}): Promise<void> {
    await this.setup(`disconnect ${this.ends}${options.force === true ? ' --force' : ''}`);
  }

  async down(): Promise<void> {
    await this.setup(`down ${this.options.name}`);
  }

  async state(): Promise<KernelState | undefined> {
    return parseProcDrbd(`${await this.options.peer.run('cat /proc/drbd')}\n`, this.options.minor);
  }

  /** Polls until `wanted` holds; rejects with the last state when it does not within the time. */
  async until(wanted: (state: KernelState) => boolean): Promise<KernelState> {
    const { name, peer } = this.options;
    const isWanted = (state: KernelState | undefined): boolean => state !== undefined && wanted(state);
    return (await eventually(
      `what is wanted of ${name}`,
      () => this.state(),
      isWanted,
      () => peer.console().slice(-1500),
    ))!;
  }
}
