/** An engine without disks and peers: it speaks the control language on a Unix socket and answers what a test tells it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CONTROL_VERSION,
  createLineDecoder,
  encodeLine,
  type Notification,
  REQUEST_LINE_MAX,
  type Reply,
  type Request,
  type Snapshot,
  type TimeoutType,
} from '@udrbd/control';
import { parseRequest } from '@udrbd/control/schemas';
import type { CommandIo } from '../command-io.js';

export interface FakeEngine {
  readonly runDir: string;
  /** Every request that was let in, queries included, but for the question for the version that every command asks first. */
  readonly requests: Request[];
  snapshot: Snapshot;
  /** Instead of it, a refusal with this code. */
  snapshotRefusal: number | undefined;
  /** What `events` tells at first, the end of the initial state included. */
  initial: readonly Notification[];
  timeoutType: TimeoutType;
  /** What it says that it speaks. */
  controlVersion: number;
  /** Why it talks to nobody. */
  refusal: string | undefined;
  /** Answer to everything that is no query. */
  answer: (request: Request) => { readonly code: number; readonly info?: readonly string[] };
  /** Tells all subscribers. */
  notify(...events: readonly Notification[]): void;
  /** Drops all connections, as an engine that dies does. */
  hangUp(): void;
  close(): Promise<void>;
}

export async function startFakeEngine(): Promise<FakeEngine> {
  const runDir = mkdtempSync(join(tmpdir(), 'drbdsetup-'));
  const sockets = new Set<Socket>();
  const subscribers = new Map<Socket, number>();
  const fake: FakeEngine = {
    runDir,
    requests: [],
    snapshot: { resources: [] },
    snapshotRefusal: undefined,
    initial: [{ action: 'exists', kind: '-' }],
    timeoutType: 0,
    controlVersion: CONTROL_VERSION,
    refusal: undefined,
    answer: () => ({ code: 101 }),
    notify(...events) {
      for (const [socket, id] of subscribers) for (const event of events) socket.write(encodeLine({ id, event }));
    },
    hangUp() {
      for (const socket of sockets) socket.destroy();
    },
    async close() {
      fake.hangUp();
      await new Promise((resolve) => server.close(resolve));
      rmSync(runDir, { recursive: true, force: true });
    },
  };

  const serve = (socket: Socket, request: Request): Reply | undefined => {
    if (fake.refusal !== undefined) return { id: 0, code: 162, info: [fake.refusal] };
    if (request.command === 'version') {
      return { id: request.id, code: 101, info: [], data: { control: fake.controlVersion, engine: '0.1.0', pid: 4711 } };
    }
    fake.requests.push(request);
    const { id } = request;
    switch (request.command) {
      case 'snapshot':
        if (fake.snapshotRefusal !== undefined) return { id, code: fake.snapshotRefusal, info: ['not now'] };
        return { id, code: 101, info: [], data: fake.snapshot };
      case 'timeout-type':
        return { id, code: 101, info: [], data: { timeoutType: fake.timeoutType } };
      case 'events':
        for (const event of fake.initial) socket.write(encodeLine({ id, event }));
        if (!request.subscribe) return { id, code: 101, info: [] };
        subscribers.set(socket, id);
        return undefined;
      default:
        return { id, info: [], ...fake.answer(request) };
    }
  };

  const server = createServer((socket) => {
    const decoder = createLineDecoder(REQUEST_LINE_MAX);
    sockets.add(socket);
    socket.setEncoding('utf8');
    socket.on('error', () => undefined);
    socket.on('close', () => {
      sockets.delete(socket);
      subscribers.delete(socket);
    });
    socket.on('data', (text) => {
      for (const line of decoder.push(String(text))) {
        const parsed = parseRequest(line.ok ? line.value : undefined);
        const reply = parsed.ok ? serve(socket, parsed.request) : parsed.reply;
        if (reply !== undefined) socket.write(encodeLine(reply));
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(join(runDir, 'control.sock'), resolve));
  return fake;
}

/** A terminal made of strings. */
export interface CapturedIo extends CommandIo {
  out: string;
  err: string;
}

export function captureIo(
  env: CommandIo['env'],
  stdin: readonly string[] = [],
  onStdout: (text: string) => void = () => undefined,
): CapturedIo {
  const lines = [...stdin];
  const io: CapturedIo = {
    out: '',
    err: '',
    env,
    stdinIsTty: false,
    stdoutIsTty: false,
    stdout(text) {
      io.out += text;
      onStdout(text);
    },
    stderr(text) {
      io.err += text;
    },
    readLine: () => Promise.resolve(lines.shift() ?? null),
  };
  return io;
}
