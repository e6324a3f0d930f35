// Random command lines: options anywhere, abbreviated, repeated, with odd values; wrong words in every place.

import type { Life, Operation, Prng } from './operations.js';

const NUMBERS = [
  '0',
  '1',
  '2',
  '7',
  '8',
  '31',
  '32',
  '33',
  '256',
  '8192',
  '8193',
  '65536',
  '1048576',
  '1048577',
  '1k',
  '1K',
  '4k',
  '1M',
  '2m',
  '1g',
  '8s',
  '3s',
  '1x',
  '1kk',
  '',
  ' 5',
  '+5',
  '-1',
  '0x10',
  '010',
  '4294967296',
  '18446744073709551615',
  '18446744073709551616',
  '99999999999999999999',
  'x',
  '1 ',
]; // prettier-ignore
const COMMANDS = [
  'get-gi',
  'show-gi',
  'dump-md',
  'restore-md',
  'verify-dump',
  'apply-al',
  'wipe-md',
  'outdate',
  'invalidate',
  'dstate',
  'check-resize',
  'create-md',
  'forget-peer',
  'set-gi',
  'read-dev-uuid',
  'write-dev-uuid',
  'create',
  'hex-dump-page',
  'role',
  '',
  'DSTATE',
  'dump-superblock',
  'repair-md',
]; // prettier-ignore
const INDEXES = [
  'internal',
  'flex-external',
  'flex-internal',
  '0',
  '1',
  '255',
  '256',
  '-1',
  '00',
  '1x',
  '',
  'external',
  ' 0',
  '+0',
  '0x0',
  '4294967296',
];
const DEVICES = [
  '-',
  '0',
  '900',
  '901x',
  'foo',
  '/dev/drbd901',
  '/dev/drbd',
  '/dev/null',
  '4294967295',
  '4294967296',
  '-5',
  '',
  '007',
  ' 9',
  '+9',
];

export function oddCommandLines(prng: Prng): Life {
  const operations: Operation[] = [];
  const number = (): string => prng.pick(NUMBERS);
  const option = (): string[] => {
    const long = (name: string, value?: string): string[] => {
      // Every abbreviation that is a word of its own or becomes ambiguous.
      const word = prng.chance(60) ? name : name.slice(0, 1 + prng.below(name.length));
      if (value === undefined) return prng.chance(5) ? [`--${word}=1`] : [`--${word}`];
      return prng.chance(50) ? [`--${word}=${value}`] : prng.chance(90) ? [`--${word}`, value] : [`--${word}`];
    };
    const short = (letter: string, value?: string): string[] =>
      value === undefined ? [`-${letter}`] : prng.chance(50) ? [`-${letter}${value}`] : [`-${letter}`, value];
    switch (prng.below(16)) {
      case 0:
        return long('force');
      case 1:
        return prng.chance(50) ? long('verbose') : short('v');
      case 2:
        return long('dry-run');
      case 3:
        return long('ignore-sanity-checks');
      case 4:
      case 5:
        return prng.chance(50) ? long('node-id', number()) : short('i', number());
      case 6:
        return prng.chance(50) ? long('peer-max-bio-size', number()) : short('p', number());
      case 7:
      case 8:
        return prng.chance(50) ? long('al-stripes', number()) : short('s', number());
      case 9:
      case 10:
        return prng.chance(50) ? long('al-stripe-size-kB', number()) : short('z', number());
      case 11:
        return long('initialize-bitmap', prng.pick(['automatic', 'pwrite', 'skip', 'Skip', 'auto', '']));
      case 12:
        return prng.pick([
          ['-x'],
          ['--bogus'],
          ['--bogus=1'],
          ['-fx'],
          ['-fv'],
          ['-vf'],
          ['-b'],
          ['-bskip'],
          ['--al-stripe', '2'],
          ['-?'],
          ['-h'],
        ]);
      case 13:
        return ['--'];
      default:
        return ['--force'];
    }
  };
  operations.push({ type: 'run', argv: ['--force', '-', 'v09', 'img', 'internal', 'create-md', '2'] });
  for (let n = 12; n > 0; n--) {
    const command = prng.chance(85) ? prng.pick(COMMANDS.slice(0, 16)) : prng.pick(COMMANDS);
    const words = [
      prng.chance(80) ? '-' : prng.pick(DEVICES),
      prng.chance(85) ? 'v09' : prng.pick(['v07', 'v08', 'v09', 'v10', '', 'V09', '9']),
      prng.chance(95) ? 'img' : prng.pick(['absent', '.', '/dev/null', '', 'empty', '/dev/zero']),
      prng.chance(80) ? 'internal' : prng.pick(INDEXES),
      command,
      ...(command === 'create-md' && prng.chance(80) ? [prng.chance(50) ? '2' : number()] : []),
      ...(prng.chance(10) ? [prng.pick(['surplus', '1', 'absent', '.', ':', '1:2'])] : []),
    ];
    const argv = prng.chance(92) ? words : words.slice(0, prng.below(words.length));
    for (let k = prng.below(4); k > 0; k--) argv.splice(prng.below(argv.length + 1), 0, ...option());
    if (prng.chance(80)) argv.splice(prng.below(2), 0, '--force');
    operations.push({ type: 'run', argv });
  }
  return { images: { img: 1024 * 1024 + 4096 * prng.below(3), empty: 0 }, operations };
}
