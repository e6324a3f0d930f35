/** Two engines on this host, a and b, with a resource r0 between them: image files below, NBD above. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import type { NetOptions } from '@udrbd/control';
import type { Test } from 'tap';
import { configure, type Variation } from './configure.js';
import { bundleEngine, EngineProcess } from './engine-process.js';
import { freePort } from './free-port.js';
import { createImage, dataBytes, readImage } from './images.js';

export interface Setting {
  /** Bytes of each image. */
  readonly size: number;
  /** Environment of a and of b; `dir` is where both have everything. */
  readonly environment?: (dir: string) => readonly [a: Record<string, string>, b: Record<string, string>];
  /** Descriptors that a may have open. */
  readonly files?: number;
}

export class TwoEngines {
  readonly dir: string;
  readonly a: EngineProcess;
  readonly b: EngineProcess;
  readonly images: readonly [string, string];
  readonly #size: number;
  readonly #ports: readonly [number, number];

  private constructor(dir: string, engines: readonly [EngineProcess, EngineProcess], size: number, ports: readonly [number, number]) {
    this.dir = dir;
    [this.a, this.b] = engines;
    this.images = [`${dir}/a.img`, `${dir}/b.img`];
    this.#size = size;
    this.#ports = ports;
  }

  /** Both run, with empty images; they end with the test. */
  static async start(t: Test, { size, environment, files }: Setting): Promise<TwoEngines> {
    const dir = mkdtempSync(`${tmpdir()}/udrbd-`);
    const program = await bundleEngine(`${dir}/bundle`);
    const [envA, envB] = environment?.(dir) ?? [{}, {}];
    const a = new EngineProcess(program, `${dir}/a`, envA, files);
    const b = new EngineProcess(program, `${dir}/b`, envB);
    t.teardown(async () => {
      await Promise.allSettled([a, b].map((engine) => engine.stop('SIGKILL')));
      rmSync(dir, { recursive: true });
    });
    const two = new TwoEngines(dir, [a, b], size, [await freePort(), await freePort()]);
    for (const image of two.images) createImage(image, size);
    await Promise.all([a.start(), b.start()]);
    return two;
  }

  /** The resource on both nodes, attached, not connected; the minor is the node id. */
  async configure(net: Partial<NetOptions> = {}, variation: Variation = {}): Promise<void> {
    for (const nodeId of [0, 1] as const) await this.configureNode(nodeId, net, variation);
  }

  configureNode(nodeId: 0 | 1, net: Partial<NetOptions> = {}, variation: Variation = {}): Promise<void> {
    const ports = this.#ports;
    const engine = nodeId === 0 ? this.a : this.b;
    return configure(engine, nodeId, this.images[nodeId], ports[nodeId], ports[1 - nodeId]!, net, variation);
  }

  async connect(): Promise<void> {
    await Promise.all([this.connectNode(0), this.connectNode(1)]);
    await this.a.until('r0', 'connecting', (r) => r.connections[0]!.state.connectionState === 'Connected');
  }

  connectNode(nodeId: 0 | 1): Promise<void> {
    const engine = nodeId === 0 ? this.a : this.b;
    return engine.ask('connect', { resource: 'r0', peerNodeId: 1 - nodeId, tentative: false, discardMyData: false });
  }

  /** From nothing to a is Primary and both are in sync. */
  async bringUp(net: Partial<NetOptions> = {}, variation: Variation = {}): Promise<void> {
    await this.configure(net, variation);
    await this.connect();
    await this.a.ask('primary', { resource: 'r0', force: true });
    await this.inSync();
  }

  /** Waits until a sees both disks UpToDate and replicates. */
  inSync(): Promise<unknown> {
    const isInSync: Parameters<EngineProcess['until']>[2] = ({ devices, connections }) => {
      const { state } = connections[0]!.peerDevices[0]!;
      return devices[0]!.state.diskState === 'UpToDate' && state.diskState === 'UpToDate' && state.replicationState === 'Established';
    };
    return this.a.until('r0', 'the resync', isInSync, 60_000);
  }

  /** Whether both disks hold the same data. */
  areEqual(): boolean {
    const [x, y] = this.images.map((image) => readImage(image, 0, dataBytes(this.#size)));
    return x!.equals(y!);
  }
}
