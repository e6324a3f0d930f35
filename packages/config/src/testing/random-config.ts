/** Random drbd.conf texts, valid ones and mutations of them, from a seed: for property tests and for comparing with stock. */
import { type Option, type OptionGroup, optionsOf } from '../options.js';

/** A small generator of pseudo-random numbers; equal seeds give equal sequences. */
export class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = (seed * 2654435761) >>> 0;
  }

  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let x = this.#state;
    x = Math.imul(x ^ (x >>> 15), x | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 4294967296;
  }

  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  chance(percent: number): boolean {
    return this.next() * 100 < percent;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }

  some<T>(list: readonly T[], most: number): T[] {
    const left = [...list];
    const chosen: T[] = [];
    for (let n = this.below(most + 1); n > 0 && left.length > 0; n--) chosen.push(...left.splice(this.below(left.length), 1));
    return chosen;
  }
}

export interface RandomStyle {
  /** Options that came with a later release are left out. */
  readonly release: string;
}

const NODES = ['alpha', 'bravo', 'charlie', 'delta.example.com'];
/** `bitmap` changed its place with 9.33, so it means the same to all releases nowhere. */
const isKnown = (option: Option, release: string): boolean =>
  option.name !== 'bitmap' && (option.since === undefined || compareVersions(option.since, release) <= 0);

function compareVersions(a: string, b: string): number {
  const [x, y] = [a, b].map((v) => (v.match(/[0-9]+/g) ?? []).map(Number));
  for (let i = 0; i < 3; i++) if ((x![i] ?? 0) !== (y![i] ?? 0)) return (x![i] ?? 0) - (y![i] ?? 0);
  return 0;
}

const TEXTS = ['sha1', 'crc32c', '"a b"', '"with \\"quotes\\" and \\\\"', '""', 'x-y_z.1', '"{;}"', '"#no comment"', '/usr/lib/drbd/x.sh'];

function valueFor(random: Random, option: Option): string {
  switch (option.kind) {
    case 'boolean':
    case 'flag':
      return random.pick(['yes', 'no']);
    case 'enum':
      return random.pick(option.values);
    case 'symbol-or-number':
      return random.chance(60) ? random.pick(option.values) : String(option.min + random.below(option.max - option.min + 1));
    case 'number': {
      const top = Math.min(option.max, 10_000_000);
      const plain = String(option.min + random.below(Math.max(1, top - option.min)));
      if (option.unchecked) return random.pick(['r0', 'data-1', 'nobody', 'r0/0']);
      if (option.scale !== 1 && random.chance(30)) return `${1 + random.below(3)}M`;
      return random.chance(15) ? `"${plain}"` : random.chance(30) ? String(option.default) : plain;
    }
    default:
      return random.pick(TEXTS);
  }
}

class Writer {
  readonly #random: Random;
  readonly #release: string;
  readonly #lines: string[] = [];
  #port = 7000;
  #minor = 0;

  constructor(random: Random, style: RandomStyle) {
    this.#random = random;
    this.#release = style.release;
  }

  get text(): string {
    return `${this.#lines.join('\n')}\n`;
  }

  #option(option: Option): string {
    if (option.kind === 'boolean' && this.#random.chance(30)) return `${this.#random.chance(50) ? 'no-' : ''}${option.name};`;
    return `${option.name} ${valueFor(this.#random, option)};`;
  }

  #options(groups: readonly OptionGroup[], most: number): string {
    const known = groups.flatMap(optionsOf).filter((o) => isKnown(o, this.#release) && o.name !== '_name' && o.kind !== 'keyring');
    const unique = known.filter((o, i) => known.findIndex((other) => other.name === o.name) === i);
    return this.#random
      .some(unique, most)
      .map((o) => this.#option(o))
      .join(' ');
  }

  #section(name: string, groups: readonly OptionGroup[], most: number): string {
    return `${name} { ${this.#options(groups, most)} }`;
  }

  #sections(isResource: boolean): string[] {
    const random = this.#random;
    const sections = [
      this.#section('options', ['options'], 3),
      this.#section('net', ['net'], 4),
      this.#section('disk', isResource ? ['disk', 'peer-device'] : ['disk', 'peer-device'], 4),
      this.#section('startup', ['startup'], 2),
      this.#section('handlers', ['handlers'], 3),
    ];
    return random.some(sections, 4);
  }

  config(): string {
    const random = this.#random;
    const globals = random.some(
      ['minor-count 20;', 'dialog-refresh 7;', 'usage-count no;', 'cmd-timeout-short 3;', 'udev-always-use-vnr;'],
      3,
    );
    this.#lines.push(`global { disable-ip-verification; ${globals.join(' ')} }`);
    if (random.chance(50)) this.#lines.push(`common { ${this.#sections(false).join(' ')} }`);
    const count = 1 + random.below(3);
    for (let i = 0; i < count; i++) this.#resource(random.pick(['r', 'data-', '"odd name ', 'x.']), i);
    return this.text;
  }

  #resource(prefix: string, index: number): void {
    const random = this.#random;
    const name = prefix.startsWith('"') ? `${prefix}${index}"` : `${prefix}${index}`;
    const nodeCount = 2 + random.below(3);
    const nodes = NODES.slice(0, nodeCount);
    const style = nodeCount === 2 ? random.pick(['84', 'ids', 'connection', 'mesh']) : random.pick(['connection', 'mesh']);
    const explicitVolumes = random.chance(50);
    const vnrs = explicitVolumes ? random.some([0, 1, 2, 7], 3).sort((a, b) => a - b) : [0];
    if (vnrs.length === 0) vnrs.push(0);
    const minors = new Map(vnrs.map((vnr) => [vnr, ++this.#minor]));
    const inHosts = random.chance(30);
    const volume = (vnr: number, disk: string) => this.#volume(vnr, minors.get(vnr)!, explicitVolumes, disk);
    const body: string[] = [];
    if (!inHosts) for (const vnr of vnrs) body.push(volume(vnr, `/dev/vg/${index}_${vnr}`));
    const port = ++this.#port;
    nodes.forEach((node, i) => {
      const parts: string[] = [];
      if (style !== '84') parts.push(`node-id ${i};`);
      parts.push(
        `address ${random.chance(20) ? `ipv6 [fd00::${i + 1}]` : `${random.chance(20) ? 'ipv4 ' : ''}10.0.${index}.${i + 1}`}:${port};`,
      );
      if (inHosts) for (const vnr of vnrs) parts.push(volume(vnr, random.chance(15) && nodeCount > 2 ? 'none' : `/dev/vg/${index}_${vnr}`));
      else if (explicitVolumes && random.chance(25)) parts.push(`volume ${vnrs[0]} { ${this.#section('disk', ['disk'], 2)} }`);
      if (random.chance(10)) parts.push(this.#section('options', ['options'], 1));
      body.push(
        `on ${node} {\n    ${random
          .some(parts, 0)
          .concat(parts)
          .join(random.chance(50) ? '\n    ' : ' ')}\n  }`,
      );
    });
    body.push(...this.#sections(true));
    if (style === 'mesh')
      body.push(`connection-mesh { hosts ${nodes.join(' ')}; ${random.chance(40) ? this.#section('net', ['net'], 2) : ''} }`);
    if (style === 'connection') body.push(...this.#connections(nodes, vnrs));
    if (random.chance(20)) body.unshift('# a comment { with "braces"');
    if (random.chance(10)) body.push('skip { anything at all; { } }');
    this.#lines.push(`resource ${name} {\n  ${body.join('\n  ')}\n}`);
  }

  #volume(vnr: number, minor: number, explicit: boolean, disk: string): string {
    const random = this.#random;
    const device = random.pick([`minor ${minor}`, `/dev/drbd${minor}`, `drbd${minor}`, `/dev/drbd${minor} minor ${minor}`]);
    const meta = random.pick([
      'meta-disk internal;',
      'flexible-meta-disk internal;',
      '',
      `meta-disk /dev/md/${minor};`,
      `meta-disk /dev/md/m[${minor}];`,
    ]);
    const parts = [`device ${device};`, `disk ${disk};`, disk === 'none' ? '' : meta];
    if (explicit && random.chance(30)) parts.push(this.#section('disk', ['disk', 'peer-device'], 2));
    return explicit ? `volume ${vnr} { ${parts.join(' ')} }` : parts.join(' ');
  }

  #connections(nodes: readonly string[], vnrs: readonly number[]): string[] {
    const random = this.#random;
    const made: string[] = [];
    nodes.forEach((a, i) => {
      for (const b of nodes.slice(i + 1)) {
        const port = ++this.#port;
        const parts = random.pick([
          [`host ${a};`, `host ${b};`],
          [`host ${a} port ${port};`, `host ${b} port ${port};`],
          [`host ${a} address 192.168.1.${i + 1}:${port};`, `host ${b} address 192.168.2.${i + 1}:${port};`],
          [
            `path { host ${a} address 192.168.3.${i + 1}:${port}; host ${b} address 192.168.4.${i + 1}:${port}; }`,
            `path { host ${a} address ipv6 [fd01::${i + 1}]:${port}; host ${b} address ipv6 [fd02::${i + 1}]:${port}; }`,
          ],
        ]);
        const more = [this.#section('net', ['net'], 3), this.#section('disk', ['peer-device'], 2)];
        if (random.chance(30)) more.push(`volume ${vnrs[0]} { ${this.#section('disk', ['peer-device'], 2)} }`);
        made.push(`connection { ${[...parts, ...random.some(more, 3)].join(' ')} }`);
      }
    });
    return made;
  }
}

/** A configuration that is well formed; whether its values contradict each other is left to chance. */
export function randomConfig(seed: number, style: RandomStyle = { release: '9.34.0' }): string {
  return new Writer(new Random(seed), style).config();
}

const WORDS = [
  '{',
  '}',
  ';',
  'on',
  'net',
  'disk',
  'volume',
  '0',
  '7',
  'host',
  'address',
  '10.0.0.9',
  ':',
  'protocol',
  'X',
  'resource',
  '"',
  '#',
  '"open',
  '@',
  'yes',
  'connection',
  'minor',
  'device',
  'meta-disk',
  'internal',
  'options',
  'timeout',
  '999999',
  '10M',
  'node-id',
  'skip',
  'include',
  'floating',
  'proxy',
  '[',
  ']',
  '::1',
  '1.2.3',
  'no-foo',
];

/** Takes words out, puts others in, doubles and exchanges them. */
export function mutate(text: string, seed: number): string {
  const random = new Random(seed ^ 0x5bd1e995);
  const words = text.split(/(\s+|[{};])/).filter((w) => w !== '');
  for (let n = 1 + random.below(2); n > 0; n--) {
    const at = random.below(words.length);
    const action = random.below(4);
    if (action === 0) words.splice(at, 1);
    else if (action === 1) words.splice(at, 0, ' ', random.pick(WORDS), ' ');
    else if (action === 2) words.splice(at, 0, words[at]!);
    else words[at] = random.pick(WORDS);
  }
  return words.join('');
}
