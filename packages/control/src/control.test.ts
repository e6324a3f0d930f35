import fc from 'fast-check';
import t from 'tap';
import {
  CONNECTION_STATES,
  ConnectionClosed,
  connectionStateFromNumber,
  connectionStateNumber,
  createClient,
  createLineDecoder,
  DEVICE_OPTIONS,
  type DecodedLine,
  DISK_OPTIONS,
  DISK_STATES,
  defaultOptions,
  diskStateFromNumber,
  diskStateNumber,
  encodeLine,
  isOptionValue,
  isSuccessCode,
  NET_OPTIONS,
  type Notification,
  type OptionTable,
  PEER_DEVICE_OPTIONS,
  REPLICATION_STATES,
  RESOURCE_OPTIONS,
  RETURN_CODES,
  ROLES,
  refuse,
  replicationStateFromNumber,
  replicationStateNumber,
  returnCodeName,
  returnCodeText,
  roleFromNumber,
  roleNumber,
  succeed,
  type Transport,
} from './index.js';
import { PARAMETERS, parseRequest, parseRequestLine } from './schemas.js';

t.test('every state word has its number and the number its word', async (t) => {
  for (const word of ROLES) t.equal(roleFromNumber(roleNumber(word)), word);
  for (const word of DISK_STATES) t.equal(diskStateFromNumber(diskStateNumber(word)), word);
  for (const word of CONNECTION_STATES) t.equal(connectionStateFromNumber(connectionStateNumber(word)), word);
  for (const word of REPLICATION_STATES) t.equal(replicationStateFromNumber(replicationStateNumber(word)), word);
  t.equal(diskStateNumber('UpToDate'), 9);
  t.equal(connectionStateNumber('Connected'), 9);
  t.equal(replicationStateNumber('Off'), 9);
  t.equal(replicationStateNumber('Behind'), 23);
  t.equal(replicationStateFromNumber(8), undefined);
  t.equal(diskStateFromNumber(10), undefined);
});

t.test('return codes', async (t) => {
  const codes = Object.values(RETURN_CODES).map(({ code }) => code as number);
  t.equal(new Set(codes).size, codes.length, 'no number twice');
  t.equal(returnCodeName(158), 'ERR_RES_NOT_KNOWN');
  t.equal(returnCodeText(158), 'Unknown resource');
  t.equal(returnCodeText(106), 'Lower device already in use.', 'historic texts are still known');
  t.equal(returnCodeText(177), undefined);
  t.strictSame([101, 1, 2, 3, 4, 0, -1, 102].map(isSuccessCode), [true, true, true, true, true, false, false, false]);
  t.strictSame(refuse('ERR_NO_DISK'), { ok: false, error: { name: 'ERR_NO_DISK' } });
  t.strictSame(refuse('ERR_NO_DISK', 'a'), { ok: false, error: { name: 'ERR_NO_DISK', info: ['a'] } });
  t.strictSame(succeed(1), { ok: true, value: 1 });
});

t.test('every default is a value its option takes', async (t) => {
  for (const table of [RESOURCE_OPTIONS, DEVICE_OPTIONS, DISK_OPTIONS, NET_OPTIONS, PEER_DEVICE_OPTIONS] as OptionTable[]) {
    for (const [name, value] of Object.entries(defaultOptions(table))) t.ok(isOptionValue(table[name]!, value), name);
  }
  t.notOk(isOptionValue(NET_OPTIONS['ping-int'], 0));
  t.notOk(isOptionValue(NET_OPTIONS.protocol, 'c'));
  t.ok(isOptionValue(RESOURCE_OPTIONS.quorum, 'majority'));
  t.ok(isOptionValue(RESOURCE_OPTIONS.quorum, 2));
  t.notOk(isOptionValue(RESOURCE_OPTIONS.quorum, 33));
  t.ok(isOptionValue(DEVICE_OPTIONS['discard-granularity'], 4294967295), 'the mark for "not configured" is above the range');
});

t.test('lines', async (t) => {
  const value = fc.dictionary(fc.string(), fc.oneof(fc.string(), fc.integer(), fc.boolean()));
  fc.assert(
    fc.property(fc.array(value, { maxLength: 6 }), fc.infiniteStream(fc.integer({ min: 1, max: 9 })), (values, sizes) => {
      const text = values.map(encodeLine).join('');
      const decoder = createLineDecoder(10_000);
      const got: DecodedLine[] = [];
      for (let at = 0; at < text.length; ) {
        const size = sizes.next().value as number;
        got.push(...decoder.push(text.slice(at, at + size)));
        at += size;
      }
      t.strictSame(JSON.stringify(got.map((line) => line.ok && line.value)), JSON.stringify(values));
    }),
    { numRuns: 50 },
  );
  t.strictSame(createLineDecoder(5).push('\n \n{]\n[1]\n'), [
    { ok: false, error: 'not-json' },
    { ok: true, value: [1] },
  ]);
  const decoder = createLineDecoder(5);
  t.strictSame(decoder.push('123456'), [{ ok: false, error: 'line-too-long' }]);
  t.strictSame(decoder.push('1\n2\n'), [], 'nothing is decoded after a line that is too long');
  const slow = createLineDecoder(3);
  t.strictSame([...slow.push('12'), ...slow.push('34')], [{ ok: false, error: 'line-too-long' }], 'the limit holds across chunks');
});

t.test('requests', async (t) => {
  const attach = {
    id: 3,
    command: 'attach',
    minor: 0,
    backingDev: '/dev/a',
    metaDev: '/dev/a',
    metaIndex: -3,
    options: { 'al-extents': 67 },
  };
  t.strictSame(parseRequest(attach), { ok: true, request: attach });
  t.strictSame(parseRequest({ id: 1, command: 'primary', resource: 'r0', extra: 1 }), {
    ok: true,
    request: { id: 1, command: 'primary', resource: 'r0', force: false },
  });
  const refused = (value: unknown) => {
    const parsed = parseRequest(value);
    return parsed.ok ? 'accepted' : [parsed.reply.id, parsed.reply.code, ...parsed.reply.info];
  };
  t.strictSame(parseRequest({ ...attach, options: { 'al-extents': 1 } }), { ok: true, request: attach }, 'brought into range');
  t.strictSame(refused({ ...attach, options: { 'disk-timeout': 6001 } }), [3, 126, 'invalid attribute value']);
  t.strictSame(refused({ ...attach, options: { 'al-extent': 67 } }), [3, 126, 'invalid attribute value']);
  t.strictSame(parseRequest({ ...attach, options: JSON.parse('{"__proto__": 1}') as object }), {
    ok: true,
    request: { ...attach, options: {} },
  });
  t.strictSame(refused({ id: 4, command: 'disk-options', minor: 0, options: { size: 1 } }), [4, 126, 'invalid attribute value']);
  t.strictSame(refused({ id: 5, command: 'reboot' }), [5, 137]);
  t.strictSame(refused({ id: 5, command: 'constructor' }), [5, 137]);
  t.strictSame(refused({ id: 6, command: 'connect', resource: 'r0' }), [6, 162, 'peer node id missing']);
  t.strictSame(refused({ id: 6, command: 'connect', resource: 'r0', peerNodeId: 32 }), [6, 162, 'peer node id out of range']);
  t.strictSame(refused({ id: 7, command: 'new-resource', resource: 'a b', nodeId: 1 }), [
    7,
    162,
    'invalid name (disallowed: ascii control, space, slash)',
  ]);
  t.strictSame(refused({ id: 8, command: 'primary', resource: '' }), [8, 158, 'unknown resource']);
  for (const garbage of [null, 1, 'x', [], {}, { id: 'x', command: 'ping' }]) t.equal((refused(garbage) as unknown[])[1], 162);
  t.notOk(parseRequestLine('{').ok);
});

t.test('parseRequest is total', async () => {
  const command = fc.oneof(fc.constantFrom(...Object.keys(PARAMETERS)), fc.string());
  const field = fc.constantFrom('resource', 'minor', 'volume', 'peerNodeId', 'options', 'local', 'force', 'size');
  fc.assert(
    fc.property(command, fc.dictionary(field, fc.jsonValue()), (command, fields) => {
      parseRequest({ ...fields, id: 1, command });
    }),
    { numRuns: 300 },
  );
});

function transport(): Transport & { sent: string[]; receive(text: string): void; end(): void; closed: boolean } {
  let text: (text: string) => void = () => undefined;
  let end: () => void = () => undefined;
  const self = {
    sent: [] as string[],
    closed: false,
    send: (line: string) => void self.sent.push(line),
    onText: (listener: (text: string) => void) => {
      text = listener;
    },
    onClose: (listener: () => void) => {
      end = listener;
    },
    close: () => {
      self.closed = true;
    },
    receive: (line: string) => text(line),
    end: () => end(),
  };
  return self;
}

t.test('the client matches answers by id, in any order', async (t) => {
  const wire = transport();
  const client = createClient(wire);
  const a = client.request('primary', { resource: 'r0', force: false });
  const b = client.request('secondary', { resource: 'r0', force: false });
  t.strictSame(wire.sent, [
    '{"id":1,"command":"primary","resource":"r0","force":false}\n',
    '{"id":2,"command":"secondary","resource":"r0","force":false}\n',
  ]);
  wire.receive('{"id":2,"code":101,"info":[]}\n{"id":1,"co');
  wire.receive('de":-2,"info":["x"]}\n');
  t.equal((await b).code, 101);
  t.strictSame(await a, { id: 1, code: -2, info: ['x'] });
});

t.test('events reach their listener until the connection ends', async (t) => {
  const wire = transport();
  const client = createClient(wire);
  const seen: Notification[] = [];
  const ended = client.events({ subscribe: true }, (event) => seen.push(event));
  wire.receive('{"id":1,"event":{"action":"exists","kind":"-"}}\n');
  t.strictSame(seen, [{ action: 'exists', kind: '-' }]);
  wire.end();
  await t.rejects(ended, ConnectionClosed);
  await t.rejects(client.request('ping', {}), ConnectionClosed);
});

t.test('an event that its listener can not read ends the stream, and nothing else', async (t) => {
  const wire = transport();
  const client = createClient(wire);
  const stream = client.events({ subscribe: true }, (event) => {
    throw new TypeError(`no ${event.kind}`);
  });
  const ping = client.request('ping', {});
  wire.receive(
    '{"id":1,"event":{"action":"exists","kind":"-"}}\n{"id":1,"event":{"action":"exists","kind":"-"}}\n{"id":2,"code":101,"info":[]}\n',
  );
  await t.rejects(stream, { message: 'no -' });
  t.equal((await ping).code, 101);
});

t.test('an engine that talks nonsense is left', async (t) => {
  for (const nonsense of ['{\n', '1\n', '{"id":"a"}\n', '{"id":1,"code":"x","info":[]}\n']) {
    const wire = transport();
    const ping = createClient(wire).request('ping', {});
    wire.receive(nonsense);
    await t.rejects(ping, ConnectionClosed);
    t.ok(wire.closed);
  }
});
