// Split brains, each policy against the kernel's: both come to the same verdict, and to the winner's data.
import { randomBytes } from 'node:crypto';
import t, { type Test } from 'tap';
import { readImage } from '../engine/images.js';
import type { Pair } from './pair.js';
import { neverSays, says } from './says.js';
import { type Setting, startSetting } from './setting.js';

type Side = 'ours' | 'kernel';

interface Round {
  readonly name: string;
  /** Options of the net section on both sides: after-sb-*pri (`0pri` ...), rr-conflict, always-asbp. */
  readonly policies: Readonly<Record<string, string>>;
  /** What the kernel has instead. */
  readonly kernelPolicies?: Readonly<Record<string, string>>;
  /** Who is Primary when they lose each other; nobody by default. */
  readonly old?: Side;
  /** Blocks that each of them writes on its own, as Primary. */
  readonly writes: readonly [ours: number, kernel: number];
  /** Who is Primary when they meet again. */
  readonly primaries?: readonly Side[];
  /** Their last common generation is further back. */
  readonly isAmbiguous?: boolean;
  /** Whose data stay; undefined: they part. */
  readonly winner: Side | undefined;
  /** The loser is Primary and refuses, with these words; the winner waits for it. */
  readonly refusal?: string;
  /** Further words of the loser. */
  readonly loserSays?: string;
  /** Further words of both. */
  readonly bothSay?: string;
  /** What the loser runs. */
  readonly handler?: string;
}

const NO_DECISION = 'Discard younger/older primary did not find a decision';
const UNRESOLVED = 'Split-Brain detected but unresolved, dropping connection!';
const I_AM_PRIMARY = 'I shall become SyncTarget, but I am primary!';
const VIOLATING = 'Becoming SyncTarget, violating the stable-dataassumption';
const FULL = 'Doing a full sync, since UUIDs where ambiguous.';
/** The kernel writes less than we do. */
const FEWER: Round['writes'] = [9, 5];
const MORE: Round['writes'] = [5, 9];

const least = { '0pri': 'discard-least-changes' };

const WITHOUT_PRIMARY: readonly Round[] = [
  { name: 'disconnect', policies: {}, writes: MORE, winner: undefined },
  {
    name: 'discard-younger-primary, ours is older',
    policies: { '0pri': 'discard-younger-primary' },
    old: 'ours',
    writes: MORE,
    winner: 'ours',
  },
  {
    name: "discard-younger-primary, the kernel's is older",
    policies: { '0pri': 'discard-younger-primary' },
    old: 'kernel',
    writes: FEWER,
    winner: 'kernel',
  },
  {
    name: 'discard-older-primary, ours is older',
    policies: { '0pri': 'discard-older-primary' },
    old: 'ours',
    writes: FEWER,
    winner: 'kernel',
  },
  {
    name: "discard-older-primary, the kernel's is older",
    policies: { '0pri': 'discard-older-primary' },
    old: 'kernel',
    writes: MORE,
    winner: 'ours',
  },
  {
    name: 'discard-older-primary, none is',
    policies: { '0pri': 'discard-older-primary' },
    writes: FEWER,
    winner: 'ours',
    bothSay: NO_DECISION,
  },
  { name: 'discard-zero-changes, we have none', policies: { '0pri': 'discard-zero-changes' }, writes: [0, 9], winner: 'kernel' },
  { name: 'discard-zero-changes, the kernel has none', policies: { '0pri': 'discard-zero-changes' }, writes: [9, 0], winner: 'ours' },
  { name: 'discard-zero-changes, both have some', policies: { '0pri': 'discard-zero-changes' }, writes: MORE, winner: undefined },
  { name: 'discard-least-changes, we have fewer', policies: least, writes: MORE, winner: 'kernel' },
  { name: 'discard-least-changes, the kernel has fewer', policies: least, writes: FEWER, winner: 'ours' },
  {
    name: "discard-local, the kernel's discard-remote",
    policies: { '0pri': 'discard-local' },
    kernelPolicies: { '0pri': 'discard-remote' },
    writes: FEWER,
    winner: 'kernel',
  },
  {
    name: "discard-remote, the kernel's discard-local",
    policies: { '0pri': 'discard-remote' },
    kernelPolicies: { '0pri': 'discard-local' },
    writes: MORE,
    winner: 'ours',
  },
];

const ONE_PRIMARY: readonly Round[] = [
  { name: 'disconnect', policies: least, writes: FEWER, primaries: ['ours'], winner: undefined },
  {
    name: 'consensus, the Secondary loses',
    policies: { ...least, '1pri': 'consensus' },
    writes: FEWER,
    primaries: ['ours'],
    winner: 'ours',
  },
  {
    name: 'consensus, the Primary would lose',
    policies: { ...least, '1pri': 'consensus' },
    writes: FEWER,
    primaries: ['kernel'],
    winner: undefined,
  },
  {
    name: 'discard-secondary, we are Primary',
    policies: { '1pri': 'discard-secondary' },
    writes: MORE,
    primaries: ['ours'],
    winner: 'ours',
  },
  {
    name: 'discard-secondary, the kernel is Primary',
    policies: { '1pri': 'discard-secondary' },
    writes: FEWER,
    primaries: ['kernel'],
    winner: 'kernel',
  },
  {
    name: 'call-pri-lost-after-sb, the Secondary loses',
    policies: { ...least, '1pri': 'call-pri-lost-after-sb' },
    writes: MORE,
    primaries: ['kernel'],
    winner: 'kernel',
  },
  {
    name: 'call-pri-lost-after-sb, we are Primary and lose',
    policies: { ...least, '1pri': 'call-pri-lost-after-sb' },
    writes: MORE,
    primaries: ['ours'],
    winner: 'kernel',
    refusal: UNRESOLVED,
    handler: 'pri-lost-after-sb',
  },
  {
    name: 'call-pri-lost-after-sb, the kernel is Primary and loses',
    policies: { ...least, '1pri': 'call-pri-lost-after-sb' },
    writes: FEWER,
    primaries: ['kernel'],
    winner: 'ours',
    refusal: UNRESOLVED,
    handler: 'pri-lost-after-sb',
  },
  {
    name: 'violently-as0p, the Secondary loses',
    policies: { ...least, '1pri': 'violently-as0p' },
    writes: FEWER,
    primaries: ['ours'],
    winner: 'ours',
  },
];

const ROLE_CONFLICTS: readonly Round[] = [
  { name: 'an older common generation', policies: least, writes: FEWER, isAmbiguous: true, winner: undefined },
  {
    name: 'an older common generation, always-asbp',
    policies: { ...least, 'always-asbp': 'yes' },
    writes: FEWER,
    isAmbiguous: true,
    winner: 'ours',
    bothSay: FULL,
  },
  {
    name: 'violently-as0p and rr-conflict disconnect, we are Primary and lose',
    policies: { ...least, '1pri': 'violently-as0p' },
    writes: MORE,
    primaries: ['ours'],
    winner: 'kernel',
    refusal: I_AM_PRIMARY,
  },
  {
    name: 'violently-as0p and rr-conflict call-pri-lost, the kernel is Primary and loses',
    policies: { ...least, '1pri': 'violently-as0p', 'rr-conflict': 'call-pri-lost' },
    writes: FEWER,
    primaries: ['kernel'],
    winner: 'ours',
    refusal: I_AM_PRIMARY,
    handler: 'pri-lost',
  },
  {
    name: 'violently-as0p and rr-conflict violently, we are Primary and lose',
    policies: { ...least, '1pri': 'violently-as0p', 'rr-conflict': 'violently' },
    writes: MORE,
    primaries: ['ours'],
    winner: 'kernel',
    loserSays: VIOLATING,
  },
  {
    name: 'violently-as0p and rr-conflict violently, the kernel is Primary and loses',
    policies: { ...least, '1pri': 'violently-as0p', 'rr-conflict': 'violently' },
    writes: FEWER,
    primaries: ['kernel'],
    winner: 'ours',
    loserSays: VIOLATING,
  },
];

const BOTH: readonly Side[] = ['ours', 'kernel'];
const TWO_PRIMARIES: readonly Round[] = [
  { name: 'disconnect', policies: least, writes: MORE, primaries: BOTH, winner: undefined },
  {
    name: 'call-pri-lost-after-sb, we lose',
    policies: { ...least, '2pri': 'call-pri-lost-after-sb' },
    writes: MORE,
    primaries: BOTH,
    winner: 'kernel',
    refusal: UNRESOLVED,
    handler: 'pri-lost-after-sb',
  },
  {
    name: 'call-pri-lost-after-sb, the kernel loses',
    policies: { ...least, '2pri': 'call-pri-lost-after-sb' },
    writes: FEWER,
    primaries: BOTH,
    winner: 'ours',
    refusal: UNRESOLVED,
    handler: 'pri-lost-after-sb',
  },
  {
    name: 'violently-as0p, the kernel loses and refuses',
    policies: { ...least, '2pri': 'violently-as0p' },
    writes: FEWER,
    primaries: BOTH,
    winner: 'ours',
    refusal: I_AM_PRIMARY,
  },
  {
    name: 'violently-as0p, we lose and give in',
    policies: { ...least, '2pri': 'violently-as0p', 'rr-conflict': 'violently' },
    writes: MORE,
    primaries: BOTH,
    winner: 'kernel',
    loserSays: VIOLATING,
  },
];

const KEYS: Readonly<Record<string, string>> = { '0pri': 'after-sb-0pri', '1pri': 'after-sb-1pri', '2pri': 'after-sb-2pri' };
const UNDECIDED = {
  'after-sb-0pri': 'disconnect',
  'after-sb-1pri': 'disconnect',
  'after-sb-2pri': 'disconnect',
  'rr-conflict': 'disconnect',
  'always-asbp': 'no',
};
const optionsOf = (policies: Round['policies']): Record<string, string> => ({
  ...UNDECIDED,
  ...Object.fromEntries(Object.entries(policies).map(([key, value]) => [KEYS[key] ?? key, value])),
});

/** A pair that splits again and again. */
class Brain {
  readonly #setting: Setting;
  readonly #pair: Pair;
  readonly #isTwice: boolean;
  #round = 0;

  constructor(setting: Setting, isTwice: boolean) {
    this.#setting = setting;
    this.#pair = setting.pair();
    this.#isTwice = isTwice;
  }

  create(): Promise<void> {
    return this.#pair.createInSync();
  }

  private async promote(side: Side): Promise<void> {
    if (side === 'ours') await this.#pair.primary();
    else await this.#pair.kernel.setup(`primary ${this.#pair.minor}`);
  }

  private async demote(side: Side): Promise<void> {
    if (side === 'ours') await this.#pair.secondary();
    else await this.#pair.kernel.setup(`secondary ${this.#pair.minor}`);
  }

  /** Ours goes off on its own: writes as Primary, and stays that or not. */
  private async ours(at: number, blocks: number, isPrimary: boolean, staysPrimary: boolean): Promise<void> {
    if (!isPrimary) await this.#pair.primary();
    if (blocks > 0) {
      const nbd = await this.#pair.open();
      await nbd.write(at * 4096, randomBytes(blocks * 4096));
      await nbd.flush();
      await nbd.close();
    }
    if (!staysPrimary) await this.#pair.secondary();
  }

  /** So does the kernel: all in one command, each costs some processes there. */
  private async kernel(at: number, blocks: number, isPrimary: boolean, staysPrimary: boolean, isAmbiguous: boolean): Promise<void> {
    const { minor, kernel } = this.#pair;
    const commands = [`drbdsetup-84 disconnect ${kernel.ends}`];
    if (!isPrimary) commands.push(`drbdsetup-84 primary ${minor}`);
    if (blocks > 0) commands.push(`dd if=/dev/urandom of=DEVICE bs=4k seek=${at} count=${blocks} oflag=direct conv=notrunc 2> /dev/null`);
    if (!staysPrimary) commands.push(`drbdsetup-84 secondary ${minor}`);
    if (isAmbiguous) commands.push(`drbdsetup-84 new-current-uuid ${minor} --clear-bitmap`);
    await this.#pair.inGuest(commands.join(' && '));
  }

  /** Both write on their own to the same place. @returns its first block */
  async split({ old, writes, primaries = [], isAmbiguous = false }: Pick<Round, 'old' | 'writes' | 'primaries' | 'isAmbiguous'>) {
    const at = 20 + 16 * this.#round++;
    if (old !== undefined) await this.promote(old);
    await this.#pair.disconnectOurs();
    await Promise.all([
      this.ours(at, writes[0], old === 'ours', primaries.includes('ours')),
      this.kernel(at, writes[1], old === 'kernel', primaries.includes('kernel'), isAmbiguous),
    ]);
    return at;
  }

  async meet(ours: Round['policies'], kernel: Round['policies'], discard: readonly Side[] = []): Promise<void> {
    const { 'always-asbp': always, ...policies } = optionsOf(ours);
    await this.#setting.ours.ask('net-options', {
      resource: this.#pair.name,
      peerNodeId: 1,
      options: { ...policies, 'always-asbp': always === 'yes', 'allow-two-primaries': this.#isTwice },
      setDefaults: false,
    } as never);
    const words = Object.entries({ ...optionsOf(kernel), 'allow-two-primaries': this.#isTwice ? 'yes' : 'no' }).map(
      ([key, value]) => `--${key}=${value}`,
    );
    if (discard.includes('kernel')) words.push('--discard-my-data');
    await Promise.all([this.#pair.connectOurs({ discardMyData: discard.includes('ours') }), this.#pair.kernel.connect(words)]);
  }

  /** After they have parted: ours gives in. */
  async repair(isAmbiguous: boolean): Promise<void> {
    const pair = this.#pair;
    await pair.disconnectOurs().catch(() => {});
    await pair.kernel.disconnect().catch(() => {});
    for (const side of BOTH) await this.demote(side);
    const policies: Round['policies'] = isAmbiguous ? { '0pri': 'discard-least-changes', 'always-asbp': 'yes' } : {};
    await this.meet(policies, policies, isAmbiguous ? [] : ['ours']);
    await pair.untilInSync('the repair');
  }

  private marks(): Record<Side, number> {
    return { ours: this.#setting.ours.log.length, kernel: this.#setting.peer.console().length };
  }

  /** What a side has said about this device since. */
  private said(side: Side, marks: Record<Side, number>): string {
    const log = side === 'ours' ? this.#setting.ours.log : this.#setting.peer.console();
    const about = new RegExp(`drbd${this.#pair.minor}\\b`);
    return log
      .slice(marks[side])
      .split('\n')
      .filter((line, i, lines) => about.test(line) || (i > 0 && about.test(lines[i - 1]!) && !/drbd/.test(line)))
      .join('\n');
  }

  async play(t: Test, round: Round): Promise<void> {
    const pair = this.#pair;
    const { winner, refusal, primaries = [] } = round;
    const at = await this.split(round);
    const first = readImage(pair.options.image, at * 4096, 4096);
    const marks = this.marks();
    await this.meet(round.policies, round.kernelPolicies ?? round.policies);
    const solved = `Split-Brain detected, ${primaries.length} primaries, automatically solved. Sync from`;
    const loser = winner === 'ours' ? 'kernel' : 'ours';
    const saysSince = (side: Side, wanted: string): Promise<void> => says(t, () => this.said(side, marks), wanted, side);
    const saidByBoth = (): string => BOTH.map((side) => this.said(side, marks)).join('\n');
    if (winner !== undefined && refusal === undefined) {
      await pair.untilInSync(round.name);
      t.equal(readImage(pair.options.image, at * 4096, 4096).equals(first), winner === 'ours', 'the data of the winner');
      for (const side of BOTH) {
        await saysSince(side, `${solved} ${side === winner ? 'this' : 'peer'} node`);
        if (round.bothSay !== undefined) await saysSince(side, round.bothSay);
      }
      if (round.loserSays !== undefined) await saysSince(loser, round.loserSays);
      neverSays(t, saidByBoth(), /unresolved|I shall become/);
      const roles = BOTH.map((side) => (primaries.includes(side) ? 'Primary' : 'Secondary'));
      t.match(await pair.state(), { role: roles[0], peerRole: roles[1] }, 'nobody has changed its role');
      for (const side of primaries) await this.demote(side);
      return;
    }
    await pair.until(
      'they part',
      ({ cs }) => (loser === 'ours' ? cs === 'StandAlone' : cs === 'Connecting' || cs === 'Unconnected' || cs === 'StandAlone'),
      ({ cs }) => (winner === 'ours' ? cs === 'StandAlone' : cs === 'WFConnection' || cs === 'Unconnected' || cs === 'StandAlone'),
    );
    t.ok(readImage(pair.options.image, at * 4096, 4096).equals(first), 'ours is untouched');
    if (winner === undefined || refusal === undefined) {
      for (const side of BOTH) await saysSince(side, UNRESOLVED);
      neverSays(t, saidByBoth(), /automatically solved/);
    } else {
      await saysSince(loser, refusal);
      await saysSince(winner, `${solved} this node`);
      if (round.handler !== undefined && loser === 'kernel') await saysSince(loser, `helper command: /bin/true ${round.handler} `);
    }
    await this.repair(round.isAmbiguous === true);
  }

  /** Each is told to give its data up for the other's. Two kernels do not notice before their generations are compared. */
  async bothDiscard(t: Test): Promise<void> {
    const pair = this.#pair;
    await this.split({ writes: MORE });
    const before = await pair.sums();
    const marks = this.marks();
    await this.meet({}, {}, BOTH);
    await pair.until(
      'they part',
      ({ cs }) => cs === 'StandAlone',
      ({ cs }) => cs === 'WFConnection' || cs === 'Unconnected' || cs === 'StandAlone',
    );
    for (const side of BOTH) await says(t, () => this.said(side, marks), UNRESOLVED, side);
    t.strictSame(await pair.sums(), before, 'both have what they had');
    await this.repair(false);
  }

  /** Each round was about other blocks: what went wrong in one of them is seen now. */
  async end(t: Test): Promise<void> {
    const { ours, kernel } = await this.#pair.sums();
    t.equal(kernel, ours, 'the same data on both disks');
  }
}

t.test('split brain', async (t) => {
  const setting = await startSetting({ ram: 4, sizeMiB: 8 });
  t.teardown(() => setting.stop());
  t.jobs = 4;
  // Each on a resource of its own, at the same time: most of it is waiting for the other side.
  const courses: readonly (readonly [string, readonly Round[], ((brain: Brain, t: Test) => Promise<void>)?])[] = [
    ['after-sb-0pri', WITHOUT_PRIMARY],
    ['after-sb-1pri', ONE_PRIMARY],
    [
      'after-sb-2pri',
      TWO_PRIMARIES,
      async (brain, t) => {
        await t.test('discard-my-data on both sides', (t) => brain.bothDiscard(t));
      },
    ],
    ['rr-conflict and always-asbp', ROLE_CONFLICTS],
  ];
  await Promise.all(
    courses.map(([name, rounds, more]) =>
      t.test(name, async (t) => {
        const brain = new Brain(setting, rounds === TWO_PRIMARIES);
        await brain.create();
        for (const round of rounds) await t.test(round.name, (t) => brain.play(t, round));
        await more?.(brain, t);
        await brain.end(t);
      }),
    ),
  );
  neverSays(t, setting.ours.log, /internal error/);
  const expected = [
    /Split-Brain detected but unresolved/,
    /I shall become SyncTarget, but I am primary/,
    /error receiving ReportState, e: -5/,
  ];
  t.same(await setting.complaints(expected), []);
});
