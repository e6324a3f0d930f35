import fc from 'fast-check';
import t from 'tap';
import { exportedVolume } from '../testing/nbd-export.js';
import {
  BLOCK_SIZE_DEFAULT,
  CMD,
  exportFlags,
  NBD_BROKEN,
  NBD_DISCONNECT,
  NBD_EINVAL,
  NBD_EIO,
  NBD_ENOSPC,
  NBD_EPERM,
  NBD_NEED_MORE,
  NBD_REFUSED,
  NBD_REQUEST,
  type NbdExport,
  type NbdExports,
  NbdSession,
  nbdErrorOf,
} from './index.js';

const bytesOf = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(/\s/g, ''), 'hex'));
const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

const volume = exportedVolume(1);
const serve = (...all: NbdExport[]): NbdExports => ({
  list: () => all,
  find: (name) => (name === '' ? all[0] : all.find((exported) => exported.name === name)),
});

const HELLO = '4e42444d41474943 49484156454f5054 0003'.replaceAll(' ', '');
const CLIENT_FLAGS = '00000003';
const option = (number: number, data = ''): string => {
  const body = data.replaceAll(/\s/g, '');
  return `49484156454f5054${number.toString(16).padStart(8, '0')}${(body.length / 2).toString(16).padStart(8, '0')}${body}`;
};
const answer = (number: number, type: number, data = ''): string => {
  const body = data.replaceAll(/\s/g, '');
  return `0003e889045565a9${number.toString(16).padStart(8, '0')}${type.toString(16).padStart(8, '0')}${(body.length / 2).toString(16).padStart(8, '0')}${body}`;
};
const text = (value: string): string => value.length.toString(16).padStart(8, '0') + hexOf(new TextEncoder().encode(value));
/** READ and relatives; the cookie's last byte is given. */
const request = (flags: number, command: number, cookie: number, offset: number, length: number): string =>
  `25609513${[flags, command].map((n) => n.toString(16).padStart(4, '0')).join('')}${cookie.toString(16).padStart(16, '0')}${offset.toString(16).padStart(16, '0')}${length.toString(16).padStart(8, '0')}`;

/** A session that took these bytes; what it said after the greeting. */
function talk(exports: NbdExports, hex: string): { readonly session: NbdSession; readonly said: string; readonly rest: string } {
  const session = new NbdSession(exports);
  const hello = hexOf(session.takeOutput());
  if (hello !== HELLO) throw new Error(hello);
  const bytes = bytesOf(hex);
  const used = session.push(bytes, 0, bytes.length);
  return { session, said: hexOf(session.takeOutput()), rest: hexOf(bytes.subarray(used)) };
}

const opened = (exported = volume, structured = false): NbdSession =>
  talk(serve(exported), CLIENT_FLAGS + (structured ? option(8) : '') + option(7, `${text('')}0000`)).session;

/** One request of the given bytes. */
function next(session: NbdSession, hex: string): number {
  const bytes = bytesOf(hex);
  return session.next(new DataView(bytes.buffer), 0, bytes.length);
}

t.test('fio with structured replies', async (t) => {
  // As recorded from libnbd against nbdkit; the flags are ours (no CACHE, no FAST_ZERO), and BLOCK_SIZE is answered.
  const client = '00000003 49484156454f5054 00000008 00000000 49484156454f5054 00000007 00000008 00000000 0001 0003'.replaceAll(' ', '');
  const reads = request(0, CMD.READ, 1, 0, 4096) + request(0, CMD.READ, 2, 8192, 4096);
  const { session, said, rest } = talk(serve(volume), client + reads);
  t.equal(said, answer(8, 1) + answer(7, 3, '0003 00000001 00001000 02000000') + answer(7, 3, '0000 0000000000100000 01ed') + answer(7, 1));
  t.equal(rest, reads, 'requests in the same segment are left for next()');
  t.ok(session.isOpen && session.structured && session.exported === volume);
  const bytes = bytesOf(rest);
  const view = new DataView(bytes.buffer);
  const out = new DataView(new ArrayBuffer(64));
  t.equal(session.next(view, 0, bytes.length), NBD_REQUEST);
  t.match(session.request, { command: CMD.READ, offset: 0, lengthBytes: 4096, cookieHigh: 0, cookieLow: 1, error: 0 });
  t.equal(session.next(view, session.consumed, bytes.length), NBD_REQUEST);
  const { command, cookieHigh, cookieLow, offset, lengthBytes } = session.request;
  const length = session.putReply(out, 0, command, cookieHigh, cookieLow, offset, lengthBytes, 0);
  t.equal(
    hexOf(new Uint8Array(out.buffer, 0, length)),
    '668e33ef 0001 0001 0000000000000002 00001008 0000000000002000'.replaceAll(' ', ''),
  );
  t.equal(session.next(view, 56, bytes.length), NBD_NEED_MORE);
  const failed = session.putReply(out, 0, command, 0, 2, 0, 4096, NBD_EIO);
  t.equal(hexOf(new Uint8Array(out.buffer, 0, failed)), '668e33ef0001800100000000000000020000000600000005 0000'.replaceAll(' ', ''));
  const simple = session.putReply(out, 0, CMD.WRITE, 7, 9, 0, 4096, 0);
  t.equal(hexOf(new Uint8Array(out.buffer, 0, simple)), '67446698000000000000000700000009', 'other commands get simple replies');
});

t.test('qemu-io requests without structured replies', async (t) => {
  const session = opened();
  const out = new DataView(new ArrayBuffer(32));
  const reply = (): string => {
    const { command, cookieHigh, cookieLow, offset, lengthBytes, error } = session.request;
    return hexOf(new Uint8Array(out.buffer, 0, session.putReply(out, 0, command, cookieHigh, cookieLow, offset, lengthBytes, error)));
  };
  for (const [flags, command, offset, length] of [
    [1, CMD.WRITE, 0, 4096],
    [0, CMD.FLUSH, 0, 0],
    [0, CMD.TRIM, 0, 4096],
    [3, CMD.WRITE_ZEROES, 4096, 4096],
  ] as const) {
    t.equal(next(session, request(flags, command, 0xc, offset, length)), NBD_REQUEST);
    t.match(session.request, { flags, command, offset, lengthBytes: length, cookieLow: 0xc });
    t.equal(reply(), '6744669800000000000000000000000c');
  }
  t.equal(next(session, '25609513 0000 0002 0000000000000000 0000000000000000 00000000'), NBD_DISCONNECT);
  t.equal(next(session, '25609514 0000 0002 0000000000000000 0000000000000000 00000000'), NBD_BROKEN);
});

t.test('options', async (t) => {
  const said = (options: string, exports = serve(volume)): string => talk(exports, CLIENT_FLAGS + options).said;
  t.equal(said(option(99)), '0003e889045565a9000000638000000100000000', 'an unknown option is refused, not fatal');
  t.equal(said(option(5)), answer(5, 0x80000001));
  t.equal(said(option(11)), answer(11, 0x80000001));
  t.equal(said(option(3)), answer(3, 2, text('r0') + hexOf(new TextEncoder().encode('volume 0'))) + answer(3, 1));
  t.equal(said(option(3), serve()), answer(3, 1));
  t.equal(said(option(3, '00')), answer(3, 0x80000003));
  t.equal(said(option(8, '00')), answer(8, 0x80000003));
  const missing = hexOf(new TextEncoder().encode("export 'nothere' not present"));
  t.equal(said(option(7, `${text('nothere')}0000`)), answer(7, 0x80000006, missing));
  const closed = serve({ ...volume, refusal: 'not now' });
  t.equal(said(option(7, `${text('r0')}0000`), closed), answer(7, 0x80000002, hexOf(new TextEncoder().encode('not now'))));
  t.equal(talk(closed, CLIENT_FLAGS + option(1, hexOf(new TextEncoder().encode('r0')))).session.isClosed, true);
  t.equal(said(option(6, `${text('r0')}0000`)), answer(6, 3, '0000 0000000000100000 016d') + answer(6, 1), 'INFO');
  t.equal(
    said(option(6, `${text('r0')}0002 0001 0002`)),
    answer(6, 3, '0001 7230') +
      answer(6, 3, `0002${hexOf(new TextEncoder().encode('volume 0'))}`) +
      answer(6, 3, '0000 0000000000100000 016d') +
      answer(6, 1),
  );
  for (const broken of ['', '00000000', '000000ff0000', `${text('r0')}0001`, `${text('r0')}000000`, '00000001ff0000'])
    t.equal(said(option(7, broken)), answer(7, 0x80000003), `GO with ${broken || 'nothing'}`);
  const context = `${text('')}00000001${text('base:allocation')}`;
  t.equal(said(option(10, context)), answer(10, 0x80000003), 'contexts need structured replies');
  t.equal(said(option(8) + option(10, context)), answer(8, 1) + answer(10, 1), 'no context is offered');
  t.equal(said(option(8) + option(9, `${text('')}00000000`)), answer(8, 1) + answer(9, 1));
  t.equal(said(option(8) + option(10, `${text('x')}00000000`)), answer(8, 1) + answer(10, 0x80000006));
  t.equal(said(option(8) + option(10, `${text('')}ffffffff${text('a')}`)), answer(8, 1) + answer(10, 0x80000003));
  t.equal(said(`49484156454f5054 00000063 00010001 ${'00'.repeat(0x10001)}`), answer(99, 0x80000009), 'too big is skipped');
  const abort = talk(serve(volume), CLIENT_FLAGS + option(2));
  t.equal(abort.said, answer(2, 1));
  t.ok(abort.session.isClosed);
});

t.test('the old way to open an export', async (t) => {
  const named = talk(serve(volume), CLIENT_FLAGS + option(1, '7230'));
  t.equal(named.said, '0000000000100000016d');
  t.ok(named.session.isOpen);
  const zeroes = talk(serve(volume), `00000001${option(1)}`);
  t.equal(zeroes.said, `0000000000100000016d${'00'.repeat(124)}`);
  t.ok(talk(serve(volume), CLIENT_FLAGS + option(1, '7231')).session.isClosed, 'an unknown name ends the connection');
  t.ok(talk(serve(volume), `00000000${option(1)}`).session.isOpen);
  t.ok(talk(serve(volume), `00000000${option(3)}`).session.isClosed, 'without FIXED_NEWSTYLE nothing else is possible');
  t.ok(talk(serve(volume), '00000004').session.isClosed, 'unknown client flags');
  t.ok(talk(serve(volume), `${CLIENT_FLAGS}49484156454f5055 00000001 00000000`).session.isClosed, 'wrong magic');
});

t.test('flags of an export', async (t) => {
  t.equal(exportFlags(volume, false), 0x016d);
  t.equal(exportFlags(volume, true), 0x01ed);
  const bare = { ...volume, readOnly: true, rotational: true, canFlush: false, canFua: false, canTrim: false, canWriteZeroes: false };
  t.equal(exportFlags(bare, false), 0x0113);
});

t.test('refused requests', async (t) => {
  const verdict = (session: NbdSession, flags: number, command: number, offset: number, length: number, payload = 0): number[] => {
    const answerCode = next(session, request(flags, command, 1, offset, length) + '00'.repeat(payload));
    return [answerCode, session.request.error, session.consumed - 28];
  };
  const sectors = { ...volume, blockSize: BLOCK_SIZE_DEFAULT };
  const refused = (error: number, skipped = 0): number[] => [NBD_REFUSED, error, skipped];
  t.strictSame(verdict(opened(), 0, CMD.READ, 1 << 20, 512), refused(NBD_EINVAL), 'READ beyond the end');
  t.strictSame(verdict(opened(), 0, CMD.WRITE, 1 << 20, 512, 512), refused(NBD_ENOSPC, 512), 'WRITE beyond the end');
  t.strictSame(verdict(opened(), 0, CMD.WRITE_ZEROES, (1 << 20) - 512, 1024), refused(NBD_ENOSPC));
  t.strictSame(verdict(opened(), 0, CMD.READ, 0, 0), refused(NBD_EINVAL), 'nothing to read');
  t.strictSame(verdict(opened(), 0, CMD.READ, 0, 64 << 20), refused(NBD_EINVAL), 'READ of 64 MiB');
  t.strictSame(verdict(opened(), 0, CMD.READ, 2 ** 52, 4096), refused(NBD_EINVAL));
  t.strictSame(verdict(opened(), 0, CMD.READ, 100, 100), [NBD_REQUEST, 0, 0], 'bytes, when the export takes them');
  t.strictSame(verdict(opened(sectors), 0, CMD.READ, 100, 512), refused(NBD_EINVAL));
  t.strictSame(verdict(opened(sectors), 0, CMD.READ, 512, 100), refused(NBD_EINVAL));
  t.strictSame(verdict(opened(), 0, CMD.BLOCK_STATUS, 0, 512), refused(NBD_EINVAL));
  t.strictSame(verdict(opened(), 0, CMD.CACHE, 0, 512), refused(NBD_EINVAL));
  t.strictSame(verdict(opened(), 0, 99, 0, 512), refused(NBD_EINVAL));
  t.strictSame(verdict(opened(), 16, CMD.WRITE_ZEROES, 0, 512), refused(NBD_EINVAL), 'FAST_ZERO was not offered');
  const readOnly = { ...volume, readOnly: true };
  t.strictSame(verdict(opened(readOnly), 0, CMD.WRITE, 0, 512, 512), refused(NBD_EPERM, 512));
  t.strictSame(verdict(opened(readOnly), 0, CMD.READ, 0, 512), [NBD_REQUEST, 0, 0]);
  t.strictSame(verdict(opened({ ...volume, canFlush: false }), 0, CMD.FLUSH, 0, 0), refused(NBD_EINVAL));
  t.strictSame(verdict(opened({ ...volume, canFua: false }), 1, CMD.WRITE, 0, 512, 512), refused(NBD_EINVAL, 512));
});

t.test('the data of a refused write is skipped, however it arrives', async (t) => {
  const session = opened();
  t.equal(next(session, request(0, CMD.WRITE, 5, 0, 33 << 20)), NBD_NEED_MORE);
  const view = new DataView(new ArrayBuffer(1 << 20));
  let verdict: number = NBD_NEED_MORE;
  let megabytes = 0;
  while (verdict === NBD_NEED_MORE) {
    verdict = session.next(view, 0, view.byteLength);
    t.equal(session.consumed, 1 << 20);
    megabytes++;
  }
  t.equal(megabytes, 33);
  t.equal(verdict, NBD_REFUSED);
  t.match(session.request, { cookieLow: 5, error: NBD_EINVAL });
  t.equal(next(session, request(0, CMD.FLUSH, 6, 0, 0)), NBD_REQUEST, 'the stream is still in step');
});

t.test('errors travel as NBD numbers', async (t) => {
  t.strictSame(
    [0, 1, 13, 30, 5, 12, 22, 28, 122, 27, 95, 108, 16, 121].map(nbdErrorOf),
    [0, 1, 1, 1, 5, 12, 22, 28, 28, 28, 95, 108, 5, 5],
  );
});

t.test('the handshake does not depend on segments', async () => {
  const whole = bytesOf(
    CLIENT_FLAGS + option(8) + option(99, 'aabbcc') + option(3) + option(7, `${text('r0')}0001 0003`) + request(0, CMD.READ, 1, 0, 512),
  );
  const expected = talk(serve(volume), hexOf(whole));
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }), (steps) => {
      const session = new NbdSession(serve(volume));
      session.takeOutput();
      let said = '';
      let at = 0;
      for (let i = 0; at < whole.length && !session.isOpen; i++) {
        const end = Math.min(whole.length, at + steps[i % steps.length]!);
        at = session.push(whole, at, end);
        said += hexOf(session.takeOutput());
      }
      return said === expected.said && session.isOpen && hexOf(whole.subarray(at)) === expected.rest;
    }),
    { numRuns: 500 },
  );
});

t.test('any bytes are survived', async () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(12), fc.uint8Array({ maxLength: 40 })), { maxLength: 6 }),
      fc.uint8Array({ maxLength: 60 }),
      (options, tail) => {
        const parts = options.map(([number, data]) => option(number, hexOf(data)));
        const { session, rest } = talk(serve(volume), CLIENT_FLAGS + parts.join('') + hexOf(tail));
        if (session.isOpen) {
          const bytes = bytesOf(rest);
          session.next(new DataView(bytes.buffer), 0, bytes.length);
          return session.consumed <= bytes.length;
        }
        return session.isClosed || rest === '';
      },
    ),
    { numRuns: 3000 },
  );
});
