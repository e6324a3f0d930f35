import { STREAM } from '@udrbd/replication';
import t from 'tap';
import { bindSocket, closeFile, connectSocket, getLocalAddress, openSocket } from 'ublk-napi';
import type { ReactorMessage } from '../reactor/messages.js';
import { Reactor } from '../reactor/reactor.js';
import { ResourceHost } from '../reactor/resource-host.js';
import { ResyncOrder } from '../reactor/resync-order.js';
import { FakeCore } from '../testing/fake-core.js';
import { Listeners } from './listener.js';

const MIB = 1 << 20;

class Node {
  readonly core = new FakeCore();
  readonly posted: ReactorMessage[] = [];
  readonly reactor = new Reactor((message) => this.posted.push(message), { arenaBytes: [MIB, MIB, MIB], lock: false, ringEntries: 64 });
  readonly host: ResourceHost;
  constructor(t: { teardown(end: () => void): void }) {
    const listeners = new Listeners(this.reactor, (level, text) => this.posted.push({ type: 'log', level, text }));
    this.host = new ResourceHost({
      reactor: this.reactor,
      index: 0,
      core: this.core,
      listeners,
      frontEnds: () => undefined,
      lock: false,
      resyncOrder: new ResyncOrder(),
    });
    t.teardown(() => this.reactor.close());
  }
  open(): void {
    this.core.effects.cold.push({ type: 'openLink', connection: 0 });
    this.host.touched = true;
  }
  close(): void {
    this.core.effects.cold.push({ type: 'closeLink', connection: 0 });
    this.host.touched = true;
  }
  logs(): string[] {
    return this.posted.flatMap((m) => (m.type === 'log' ? [m.text] : []));
  }
}

/** A port nobody uses now. */
function freePort(): number {
  const fd = openSocket('ipv4');
  bindSocket(fd, { family: 'ipv4', address: '127.0.0.1', port: 0 });
  const address = getLocalAddress(fd);
  closeFile(fd);
  return address.family === 'unix' ? 0 : address.port;
}

const endpoint = (port: number) => ({ family: 'ipv4', address: '127.0.0.1', port }) as const;

function until(nodes: Node[], done: () => boolean): boolean {
  const end = Date.now() + 20_000;
  while (!done() && Date.now() < end) for (const node of nodes) node.reactor.turn(2);
  return done();
}

const said = (node: Node, what: string) => node.core.calls.some((call) => call.startsWith(what));

t.test('two nodes meet, talk, and part', async (t) => {
  const [portA, portB] = [freePort(), freePort()];
  const a = new Node(t);
  const b = new Node(t);
  a.host.setPaths(0, [{ local: endpoint(portA), remote: endpoint(portB) }]);
  b.host.setPaths(0, [{ local: endpoint(portB), remote: endpoint(portA) }]);
  a.open();
  b.open();
  t.ok(
    until([a, b], () => said(a, 'linkUp') && said(b, 'linkUp')),
    'both are up',
  );
  const conflicts = [...a.core.calls, ...b.core.calls].filter((call) => call.endsWith('true')).length;
  t.equal(conflicts, 1, 'exactly one resolves conflicts');
  t.strictSame(a.host.snapshot().established, [{ connection: 0, path: 0 }]);

  for (let i = 0; i < 200; i++) a.core.send(STREAM.Data, [1, 2, i]);
  b.core.send(STREAM.Meta, [9]);
  a.host.touched = true;
  b.host.touched = true;
  t.ok(until([a, b], () => b.core.received[0]!.length === 600 && a.core.received[1]!.length === 1));
  t.equal(a.core.outboxes[0]!.done, 200, 'every entry is reported once');

  // Payloads: a large one goes straight into its buffer, a small one through the receive buffer; packets follow both.
  for (const bytes of [512, 4096, 200_000, MIB]) {
    const slot = a.core.requests.acquireApplication();
    a.core.requests.lengthBytes[slot] = bytes;
    const page = a.host.allocate(slot, bytes);
    a.reactor.memory.view(page, bytes).forEach((_, i, view) => {
      view[i] = (i * 7 + bytes) & 0xff;
    });
    b.core.payloadBytesNext = bytes;
    b.core.calls.length = 0;
    a.core.send(STREAM.Data, [], slot);
    a.core.send(STREAM.Data, [42]);
    a.host.touched = true;
    b.core.received[0]!.length = 0;
    t.ok(
      until([a, b], () => said(b, 'payloadDone') && b.core.received[0]!.length === 1),
      `${bytes} bytes`,
    );
    const peerSlot = Number(b.core.calls[0]!.split(' ')[1]);
    const got = b.reactor.memory.view(b.host.pageOf(peerSlot), bytes);
    t.ok(Buffer.from(got).equals(Buffer.from(a.reactor.memory.view(page, bytes))), 'the payload is intact');
    b.core.effects.push(7, peerSlot, 0);
    b.host.touched = true;
    a.host.release(slot);
    b.reactor.turn(0);
    t.equal(b.reactor.memory.freeBytes(1), MIB, 'its memory is back');
  }

  a.close();
  t.ok(
    until([a, b], () => said(a, 'linkDown') && said(b, 'linkDown')),
    'both are down',
  );
  t.ok(a.core.calls.includes('linkDown 0 closed'));
  t.equal(a.reactor.strayCompletions + b.reactor.strayCompletions, 0);

  b.core.calls.length = 0;
  a.core.calls.length = 0;
  b.open();
  for (let i = 0; i < 5; i++) for (const node of [a, b]) node.reactor.turn(2);
  a.open();
  t.ok(
    until([a, b], () => said(a, 'linkUp') && said(b, 'linkUp')),
    'and up again',
  );
});

t.test('a peer with a short ping-timeout is not kept waiting by one with a long one', async (t) => {
  const [portA, portB] = [freePort(), freePort()];
  const a = new Node(t);
  const b = new Node(t);
  b.core.connectionOptions = { 'connect-int': 1, 'ping-timeout': 300 };
  a.host.setPaths(0, [{ local: endpoint(portA), remote: endpoint(portB) }]);
  b.host.setPaths(0, [{ local: endpoint(portB), remote: endpoint(portA) }]);
  a.open();
  b.open();
  t.ok(until([a, b], () => said(a, 'linkUp')));
  a.core.send(STREAM.Data, [1, 2, 3]);
  a.host.touched = true;
  t.ok(
    until([a, b], () => said(b, 'linkUp') && b.core.received[STREAM.Data]!.length === 3),
    'the other one has waited half a second, not half a minute, and lost nothing',
  );
  a.close();
  t.ok(until([a, b], () => said(a, 'linkDown') && said(b, 'linkDown')));
});

t.test('a node without a peer goes on trying and can be stopped', async (t) => {
  const a = new Node(t);
  a.host.setPaths(0, [{ local: endpoint(freePort()), remote: endpoint(freePort()) }]);
  a.open();
  t.ok(until([a], () => a.logs().some((line) => /connect to ipv4:127\.0\.0\.1:\d+: Connection refused/.test(line))));
  t.notOk(said(a, 'link'));
  a.close();
  t.ok(until([a], () => said(a, 'linkDown')));
});

t.test('garbage instead of a first packet is dropped', async (t) => {
  const port = freePort();
  const a = new Node(t);
  a.host.setPaths(0, [{ local: endpoint(port), remote: endpoint(freePort()) }]);
  a.open();
  a.reactor.turn(0);
  const fd = openSocket('ipv4');
  connectSocket(fd, endpoint(port));
  const { writeSync } = await import('node:fs');
  writeSync(fd, Buffer.from('GET / HTTP/1.0\r\n\r\n'));
  t.ok(until([a], () => a.logs().some((line) => line.includes('Error receiving initial packet'))));
  closeFile(fd);
  t.notOk(said(a, 'link'));
  a.close();
  t.ok(until([a], () => said(a, 'linkDown')));
});

t.test('an address that can not be listened on is told once', async (t) => {
  const a = new Node(t);
  a.host.setPaths(0, [{ local: { family: 'ipv4', address: '192.0.2.1', port: 7788 }, remote: endpoint(freePort()) }]);
  a.open();
  t.ok(until([a], () => a.logs().some((line) => /can not listen on ipv4:192\.0\.2\.1:7788/.test(line))));
  a.close();
  t.ok(until([a], () => said(a, 'linkDown')));
});
