/** Reads the recorded streams of two DRBD 8.4 kernels and the list of their packets that another decoder made. */
import { existsSync, readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';

const folder = new URL('../vectors/wire/', import.meta.url);

/** One row of packets.tsv.gz: what stands where in a stream, and the decoded fields where the list has them. */
export interface ListedPacket {
  readonly offset: number;
  readonly name: string;
  /** '-' where the header has no volume. */
  readonly volume: string;
  readonly length: number;
  readonly text: string;
}

export interface Direction {
  readonly bytes: Uint8Array;
  readonly packets: readonly ListedPacket[];
}

export interface Stream {
  readonly name: string;
  readonly scenario: string;
  readonly socket: 'data' | 'meta';
  /** Undefined when the stream ended before features were exchanged. */
  readonly apv: number | undefined;
  readonly features: number;
  readonly directions: ReadonlyMap<string, Direction>;
}

/** All recorded streams in the order of their TCP connects, scenario by scenario. */
export function* streams(): Generator<Stream> {
  const listed = new Map<string, ListedPacket[]>();
  for (const line of gunzipSync(readFileSync(new URL('packets.tsv.gz', folder)))
    .toString()
    .trimEnd()
    .split('\n')) {
    const [scenario, stream, socket, direction, offset, name, volume, length, text] = line.split('\t');
    const key = `${scenario}.${stream}-${socket}-${direction}`;
    const packets = listed.get(key) ?? [];
    listed.set(key, packets);
    packets.push({ offset: Number(offset), name: name!, volume: volume!, length: Number(length), text: text ?? '' });
  }
  for (const line of readFileSync(new URL('streams.tsv', folder), 'utf8').trimEnd().split('\n')) {
    const [scenario, stream, socket, , apv, features] = line.split('\t');
    const directions = new Map<string, Direction>();
    for (const direction of ['a2b', 'b2a']) {
      const key = `${scenario}.${stream}-${socket}-${direction}`;
      const file = new URL(`${key}.bin.gz`, folder);
      if (!existsSync(file)) continue;
      directions.set(direction, { bytes: gunzipSync(readFileSync(file)), packets: listed.get(key) ?? [] });
    }
    yield {
      name: `${scenario}.${stream}`,
      scenario: scenario!,
      socket: socket as 'data' | 'meta',
      apv: apv === '-' ? undefined : Number(apv),
      features: features === '-' ? 0 : Number(features),
      directions,
    };
  }
}

/** What was said, by whom, on which stream; header included. */
export interface RecordedPacket {
  readonly from: 'a' | 'b';
  readonly socket: 'data' | 'meta';
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** One connection from its first packet to its end, in the order in which the packets were recorded. */
export interface Conversation {
  readonly name: string;
  readonly apv: number;
  readonly features: number;
  /** Who opened the meta stream. */
  readonly metaOpener: 'a' | 'b';
  readonly packets: readonly RecordedPacket[];
}

/** The recorded connections that came to an agreed version: a data stream each, and the meta stream that follows it. */
export function conversations(): Conversation[] {
  const all = [...streams()];
  const openers = new Map<string, 'a' | 'b'>();
  for (const line of readFileSync(new URL('streams.tsv', folder), 'utf8').trimEnd().split('\n')) {
    const [scenario, stream, , opener] = line.split('\t');
    openers.set(`${scenario}.${stream}`, opener as 'a' | 'b');
  }
  const found: Conversation[] = [];
  const packetsOf = new Map<string, RecordedPacket[]>();
  for (const [i, data] of all.entries()) {
    const meta = all[i + 1];
    if (data.socket !== 'data' || meta?.socket !== 'meta' || meta.scenario !== data.scenario || data.apv === undefined) continue;
    const packets: RecordedPacket[] = [];
    for (const stream of [data, meta]) packetsOf.set(stream.name, packets);
    found.push({ name: data.name, apv: data.apv, features: data.features, metaOpener: openers.get(meta.name)!, packets });
  }
  const byName = new Map(all.map((stream) => [stream.name, stream]));
  const next = new Map<string, number>();
  for (const line of gunzipSync(readFileSync(new URL('packets.tsv.gz', folder)))
    .toString()
    .trimEnd()
    .split('\n')) {
    const [scenario, number, socket, direction, offset, name] = line.split('\t');
    const key = `${scenario}.${number}`;
    const packets = packetsOf.get(key);
    const recorded = byName.get(key)?.directions.get(direction!);
    if (packets === undefined || recorded === undefined) continue;
    const at = (next.get(`${key} ${direction}`) ?? 0) + 1;
    next.set(`${key} ${direction}`, at);
    const end = recorded.packets[at]?.offset ?? recorded.bytes.length;
    // A copy: slices of a Buffer would share its memory.
    const bytes = new Uint8Array(recorded.bytes.subarray(Number(offset), end));
    packets.push({ from: direction![0] as 'a' | 'b', socket: socket as 'data' | 'meta', name: name!, bytes });
  }
  return found;
}
