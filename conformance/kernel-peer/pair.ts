// One resource, ours on an image file and the kernel's on a disk of the peer, with what the scenarios do to both.
import { createHash, randomBytes } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';
import type { DiskOptions, NetOptions, ResourceSnapshot } from '@udrbd/control';
import { eventually } from '../engine/eventually.js';
import { createImage, readImage } from '../engine/images.js';
import { NbdClient } from '../engine/nbd-client.js';
import { KernelResource, type KernelResourceOptions, type KernelState } from '../uml/kernel-resource.js';
import type { UmlPeer } from '../uml/peer.js';
import type { OurNode } from './our-node.js';

const PEER_NODE_ID = 1;
/** For whom the link has to stand all the time: it is not lost because the machine was busy elsewhere for half a second. */
export const STEADY = { 'ping-timeout': 30 } as const;

export interface PairOptions {
  readonly ours: OurNode;
  /** The kernel that runs now. */
  readonly peer: () => UmlPeer;
  readonly name: string;
  readonly minor: number;
  /** Block device in the guest. */
  readonly kernelDisk: string;
  /** Where that is a file of the host: its path. */
  readonly kernelImage?: string;
  /** Path of our disk; created, with fresh meta-data. */
  readonly image: string;
  readonly imageMiB?: number;
  readonly protocol?: 'A' | 'B' | 'C';
  /** Another one than the host's; it has to be there. */
  readonly ourAddress?: string;
  /** Options of our disk. */
  readonly diskOptions?: Readonly<Partial<DiskOptions>>;
  /** Options of the connection, for both sides. */
  readonly net?: Readonly<Record<string, string | number>>;
  /** Where only one side differs. */
  readonly ourNet?: Readonly<Partial<NetOptions>>;
  readonly kernelNet?: readonly string[];
  readonly kernelDiskOptions?: readonly string[];
}

/** What each side thinks of the other and itself, in the words of /proc/drbd. */
export interface OurState {
  readonly cs: string;
  readonly role: string;
  readonly peerRole: string;
  readonly disk: string;
  readonly peerDisk: string;
  /** KiB. */
  readonly oos: number;
}

export function stateOf(resource: ResourceSnapshot): OurState {
  const [device, connection] = [resource.devices[0]!, resource.connections[0]!];
  const peerDevice = connection.peerDevices[0]!;
  const { connectionState } = connection.state;
  const { replicationState } = peerDevice.state;
  const connected = replicationState === 'Established' ? 'Connected' : replicationState;
  return {
    cs: connectionState === 'Connected' ? connected : connectionState,
    role: resource.state.role,
    peerRole: connection.state.role,
    disk: device.state.diskState,
    peerDisk: peerDevice.state.diskState,
    oos: peerDevice.statistics.outOfSync / 2,
  };
}

export class Pair {
  readonly options: PairOptions;
  /** Of the kernel that runs now. */
  get kernel(): KernelResource {
    const peer = this.peer;
    if (this.#kernel?.options.peer !== peer) this.#kernel = new KernelResource({ ...this.#kernelOptions, peer });
    return this.#kernel;
  }
  #kernel: KernelResource | undefined;
  readonly #kernelOptions: Omit<KernelResourceOptions, 'peer'>;
  readonly name: string;
  readonly minor: number;

  constructor(options: PairOptions) {
    this.options = options;
    this.name = options.name;
    this.minor = options.minor;
    const { name, minor, kernelDisk, protocol, net = {}, kernelNet = [] } = options;
    const netOptions = [...Object.entries({ 'connect-int': 1, ...net }).map(([key, value]) => `--${key}='${value}'`), ...kernelNet];
    const diskOptions = ['--c-plan-ahead=0', '--resync-rate=102400', '--c-min-rate=0', ...(options.kernelDiskOptions ?? [])];
    this.#kernelOptions = {
      name,
      minor,
      disk: kernelDisk,
      port: this.port,
      ...(options.ourAddress === undefined ? {} : { remote: `${options.ourAddress}:${this.port}` }),
      ...(protocol === undefined ? {} : { protocol }),
      netOptions,
      diskOptions,
    };
  }

  get peer(): UmlPeer {
    return this.options.peer();
  }

  get port(): number {
    return 7780 + this.minor;
  }

  private get ids(): { readonly resource: string; readonly peerNodeId: number } {
    return { resource: this.name, peerNodeId: PEER_NODE_ID };
  }

  /**
   * Fresh meta-data and attached disks on both sides; not yet connected.
   * @param options - empty: the disks read as zeroes; they hold different data at many places otherwise
   */
  async create(options: { readonly empty?: boolean } = {}): Promise<void> {
    const { image, kernelDisk, imageMiB = 32 } = this.options;
    createImage(image, imageMiB << 20);
    if (options.empty !== true) {
      const fd = openSync(image, 'r+');
      for (let at = 0; at + (4 << 20) <= imageMiB << 20; at += 4 << 20) writeSync(fd, randomBytes(1 << 20), 0, 1 << 20, at + 65536);
      closeSync(fd);
      await this.inGuest(`dd if=/dev/urandom of=${kernelDisk} bs=256k count=20 oflag=direct 2> /dev/null`);
    }
    await Promise.all([this.configureOurs(), this.kernel.createMetaData().then(() => this.kernel.attach())]);
  }

  async configureOurs(): Promise<void> {
    const { peer } = this;
    const { ours, protocol = 'C', net = {}, ourNet = {} } = this.options;
    await ours.ask('new-resource', { resource: this.name, nodeId: 0, options: {} });
    await ours.ask('new-minor', { resource: this.name, minor: this.minor, volume: 0, options: {} });
    await this.attachOurs();
    await ours.ask('new-peer', { ...this.ids, options: { _name: peer.name, protocol, 'connect-int': 1, ...net, ...ourNet } as never });
    // The controller would begin slowly, and make way for applications.
    await this.setOurRate(102_400);
    const local = { family: 'ipv4', address: this.options.ourAddress ?? peer.hostAddress, port: this.port } as const;
    await ours.ask('new-path', { ...this.ids, local, remote: { ...local, address: peer.address } });
  }

  /** As `drbdadm attach` does it: what the activity log covers is marked first. */
  async attachOurs(): Promise<void> {
    const { ours, image, diskOptions = {} } = this.options;
    await ours.drbdmeta(this.minor, image, ['apply-al']);
    await ours.ask('attach', { minor: this.minor, backingDev: image, metaDev: image, metaIndex: -3, options: diskOptions });
  }

  async connectOurs(options: { readonly discardMyData?: boolean } = {}): Promise<void> {
    await this.options.ours.ask('connect', { ...this.ids, tentative: false, discardMyData: options.discardMyData ?? false });
  }

  async disconnectOurs(options: { readonly force?: boolean } = {}): Promise<void> {
    await this.options.ours.ask('disconnect', { ...this.ids, force: options.force ?? false });
  }

  async primary(options: { readonly force?: boolean } = {}): Promise<void> {
    await this.options.ours.ask('primary', { resource: this.name, force: options.force ?? false });
  }

  async secondary(): Promise<void> {
    await this.options.ours.ask('secondary', { resource: this.name, force: false });
  }

  async ask(command: 'invalidate' | 'detach' | 'invalidate-remote' | 'new-current-uuid' | 'outdate', more: object = {}): Promise<void> {
    const about = command === 'invalidate-remote' ? { ...this.ids, volume: 0, resetBitmap: true } : { minor: this.minor };
    await this.options.ours.ask(command, { ...about, ...more } as never);
  }

  async state(): Promise<OurState> {
    return stateOf(await this.options.ours.resource(this.name));
  }

  /** Waits until both sides are as wanted; rejects with what they came to, and what they logged. */
  async until(what: string, ours: (state: OurState) => boolean, kernel: (state: KernelState) => boolean = () => true): Promise<void> {
    // A question to the kernel costs some processes there: not before ours is as wanted.
    const look = async (): Promise<{ own: OurState; other?: KernelState | undefined }> => {
      const own = await this.state();
      return ours(own) ? { own, other: await this.kernel.state() } : { own };
    };
    const told = async (): Promise<string> =>
      `${JSON.stringify(await this.kernel.state())}\n${this.options.ours.log.slice(-4000)}\n${this.peer.console().slice(-3000)}`;
    await eventually(what, look, ({ other }) => other !== undefined && kernel(other), told);
  }

  /** The same for our side alone: the kernel may not be there. */
  async untilWe(wanted: (state: OurState) => boolean): Promise<void> {
    const told = (): string => this.options.ours.log.slice(-4000);
    await eventually('what is wanted of us', () => this.state(), wanted, told);
  }

  /** Waits until the device has this size here. */
  async untilSize(wanted: (bytes: number) => boolean): Promise<number> {
    const told = (): string => this.options.ours.log.slice(-2000);
    return eventually('the size', () => this.sizeBytes(), wanted, told);
  }

  /** A fixed rate of resyncs to us, KiB/s. */
  async setOurRate(rate: number): Promise<void> {
    const options = { 'c-plan-ahead': 0, 'resync-rate': rate, 'c-min-rate': 0 };
    await this.options.ours.ask('peer-device-options', { ...this.ids, volume: 0, options, setDefaults: false });
  }

  /** Both are connected, UpToDate, and know nothing out of sync. */
  async untilInSync(what: string): Promise<void> {
    const good = ({ cs, disk, peerDisk }: OurState | KernelState): boolean =>
      cs === 'Connected' && disk === 'UpToDate' && peerDisk === 'UpToDate';
    await this.until(
      what,
      (own) => good(own) && own.oos === 0,
      (other) => good(other) && other.counters.oos === 0,
    );
  }

  async untilConnected(): Promise<void> {
    await this.until(
      'connecting',
      ({ cs }) => cs === 'Connected',
      ({ cs }) => cs === 'Connected',
    );
  }

  /** Connects both; fresh disks become Connected Inconsistent/Inconsistent. */
  async connect(): Promise<void> {
    await Promise.all([this.connectOurs(), this.kernel.connect()]);
    await this.untilConnected();
  }

  /** Fresh, connected, and full of the same data, with nobody Primary. */
  async createInSync(): Promise<void> {
    await this.create();
    await this.connect();
    await this.primary({ force: true });
    await this.untilInSync('the initial sync');
    await this.secondary();
  }

  open(): Promise<NbdClient> {
    return NbdClient.open(`${this.options.ours.runDir}/nbd/${this.minor}.sock`);
  }

  /** Shell command in the guest that ends with success; DEVICE stands for the kernel's DRBD device. */
  inGuest(text: string): Promise<string> {
    return this.peer.run(text.replaceAll('DEVICE', `/dev/drbd${this.minor}`));
  }

  async sizeBytes(): Promise<number> {
    return (await this.options.ours.resource(this.name)).devices[0]!.statistics.size * 512;
  }

  /** The kernel's disk, below DRBD. */
  private kernelSum(bytes: number): Promise<string> {
    const { kernelDisk } = this.options;
    const whole = Math.floor(bytes / 65536);
    const rest = (bytes % 65536) / 512;
    const read = `dd if=${kernelDisk} iflag=direct`;
    const tail = `${read} bs=512 skip=${whole * 128} count=${rest} 2> /dev/null`;
    return this.peer.run(`(${read} bs=65536 count=${whole} 2> /dev/null; ${tail}) | sha256sum | cut -d ' ' -f 1`);
  }

  /** The checksums of both disks over the size of the device. Nothing may be writing. */
  async sums(): Promise<{ readonly ours: string; readonly kernel: string }> {
    const bytes = await this.sizeBytes();
    const { image, kernelImage } = this.options;
    // What is written below the kernel's DRBD stands in the file at once: it is read many times faster from here.
    const kernel = kernelImage === undefined ? await this.kernelSum(bytes) : sumOf(kernelImage, bytes);
    return { kernel, ours: sumOf(image, bytes) };
  }
}

const sumOf = (image: string, bytes: number): string =>
  createHash('sha256')
    .update(readImage(image, 0, bytes))
    .digest('hex');

/**
 * How a connection ended, which tests look at for themselves. A ping may take half a second, unless a test wants more: a host that is busy
 * elsewhere ends it too, and they connect again. Who of two that part hears of it in this way is a race.
 */
const LINK_ENDED = /PingAck did not arrive in time|meta connection shut down by peer/;

/** Lines of a kernel's log that were looked at. */
const seen = new WeakMap<UmlPeer, number>();

/** What the kernel complained about since this was asked last: lines of level error and worse, and failed assertions. */
export async function complaints(peer: UmlPeer, expected: readonly RegExp[] = []): Promise<string[]> {
  const from = seen.get(peer) ?? 0;
  const lines = (await peer.run(`dmesg -r | tail -n +${from + 1}`)).split('\n').filter((line) => line !== '');
  seen.set(peer, from + lines.length);
  // What was before DRBD is none of ours.
  return lines
    .slice(lines.findIndex((line) => line.includes('drbd: initialized')) + 1)
    .filter((line) => /^<[0-3]>/.test(line) || /ASSERT|BUG|WARNING:|Oops|call trace|hung task|\bbad |FIXME|unexpected|logic/i.test(line))
    .filter((line) => ![LINK_ENDED, ...expected].some((pattern) => pattern.test(line)));
}
