import fc from 'fast-check';
import t from 'tap';
import {
  C,
  convertAfterSb,
  convertConn,
  convertState,
  D,
  D84,
  diskFrom84,
  diskTo84,
  isStateValid,
  packState,
  R,
  type State,
  stateFromWire,
  stateGet,
  stateSet,
  stateText,
  stateToWire,
  unpackState,
  WHOLE,
} from './index.js';

t.test('words of the hand-shake', async (t) => {
  const words: readonly (readonly [number, string])[] = [
    [0x0000c882, 'Secondary/Unknown WFConnection Inconsistent/DUnknown'],
    [0x000088aa, 'Secondary/Secondary Connected Inconsistent/Inconsistent'],
    [0x000090a9, 'Primary/Secondary Connected UpToDate/Inconsistent'],
    [0x000108e6, 'Secondary/Primary WFBitMapT Inconsistent/UpToDate'],
    [0x00009109, 'Primary/Secondary SyncSource UpToDate/Inconsistent'],
    [0x000110a6, 'Secondary/Primary Connected UpToDate/UpToDate'],
    [0x000110a9, 'Primary/Secondary Connected UpToDate/UpToDate'],
    [0x0000d081, 'Primary/Unknown WFConnection UpToDate/DUnknown'],
    [0x0000d082, 'Secondary/Unknown WFConnection UpToDate/DUnknown'],
    [0x0000f0d9, 'Primary/Secondary WFBitMapS UpToDate/Consistent'],
    [0x00010ae6, 'Secondary/Primary WFBitMapT Outdated/UpToDate'],
    [0x001090d9, 'Primary/Secondary WFBitMapS UpToDate/Inconsistent user_isp'],
  ];
  for (const [word, text] of words) {
    t.equal(stateText(word, 101), text);
    t.equal(packState(unpackState(word)), word);
  }
  t.equal(packState({ role: R.Primary, peer: R.Secondary, conn: C.SyncSource, disk: D84.UpToDate, pdsk: D84.Inconsistent }), 0x9109);
});

t.test('the words that ask for a change', async (t) => {
  const val = (state: Partial<State>): number => stateToWire(packState(state), 101);
  t.equal(val({ role: R.Primary, disk: D.UpToDate }), 0x1001);
  t.equal(val({ role: R.Primary, pdsk: D.Outdated }), 0xa001);
  t.equal(val({ disk: D.Failed }), 0x400);
  t.equal(val({ conn: C.StartingSyncT }), 0xc0);
  t.equal(val({ conn: C.VerifyS }), 0x120);
  t.equal(val({ conn: C.Disconnecting, disk: D.Outdated }), 0xa10);
});

t.test('disk states are numbered differently below 110', async (t) => {
  for (const [name, value] of Object.entries(D84)) {
    t.equal(diskFrom84(value), D[name as keyof typeof D], name);
    t.equal(diskTo84(D[name as keyof typeof D]), value, name);
  }
  t.equal(diskTo84(D.Detaching), D84.Failed);
  fc.assert(
    fc.property(fc.constantFrom(...Object.values(D84)), fc.constantFrom(...Object.values(D84)), fc.nat(0x1ff), (disk, pdsk, low) => {
      const word = stateSet(stateSet(low, 'disk', disk), 'pdsk', pdsk);
      return stateToWire(stateFromWire(word, 101), 101) === word && stateFromWire(word, 124) === word;
    }),
  );
  t.equal(stateFromWire(0x1001, 101, 0x1e03), packState({ role: R.Primary, disk: D.UpToDate }));
  t.equal(stateFromWire(0x10, 101, 0x1f0), 0x10, 'fields outside the mask stay zero');
});

t.test('the other point of view', async (t) => {
  const promoted = packState({ role: R.Primary, disk: D84.UpToDate });
  t.equal(convertState(promoted, 101), packState({ peer: R.Primary, pdsk: D84.UpToDate }));
  t.equal(stateGet(convertState(packState({ aftr_isp: 1 }), 101), 'peer_isp'), 1);
  t.equal(stateGet(convertState(packState({ peer_isp: 1 }), 101), 'peer_isp'), 0);
  t.equal(convertConn(C.Disconnecting, 101), C.TearDown);
  t.equal(convertConn(C.VerifyS, 101), C.VerifyT);
  t.equal(convertConn(C.VerifyT, 101), 0);
  t.equal(convertConn(C.WFBitMapS, 101), 0);
  t.equal(convertConn(C.WFBitMapS, 124), C.WFBitMapT);
  t.equal(convertConn(WHOLE.conn, 101), WHOLE.conn);
  for (const apv of [101, 124])
    fc.assert(
      fc.property(fc.nat(0xffffff), (word) => {
        const back = convertState(convertState(word, apv), apv);
        const kept = ['role', 'peer', 'disk', 'pdsk', 'susp', 'susp_nod', 'susp_fen'] as const;
        return kept.every((field) => stateGet(back, field) === stateGet(word, field));
      }),
    );
  t.strictSame([4, 5, 6, 7].map(convertAfterSb), [4, 6, 5, 7]);
});

t.test('undefined values are recognised', async (t) => {
  t.ok(isStateValid(0x88aa, 101));
  t.notOk(isStateValid(24 << 4, 101), 'conn');
  t.notOk(isStateValid(9 << 9, 101), 'disk');
  t.ok(isStateValid(9 << 9, 124));
  t.notOk(isStateValid(10 << 13, 124), 'pdsk');
  for (const mask of [0x1e000, 0x1e00, 0x1f0, 0xc, 3]) t.notOk(isStateValid(mask, 101), 'masks are no states');
});
