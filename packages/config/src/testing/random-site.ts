/**
 * Random drbd.conf as people and tools write them: trees of included files in the manner of the distributions, of cluster managers and
 * of old guides, stacked, floating, over proxies; and broken ones. Everything comes from a seed.
 */
import type { OptionKind } from '../options.js';
import { optionsOf } from '../options.js';
import { mutate, Random, randomConfig } from './random-config.js';

/** File texts by name; `drbd.conf` is where reading begins. */
export type Site = Readonly<Record<string, string>>;

const MAIN = 'drbd.conf';
const NODES = ['alpha', 'bravo', 'charlie', 'delta'];

/** How a text is laid out, which must not matter. */
function layOut(random: Random, text: string): string {
  switch (random.below(9)) {
    case 0:
      return text.replaceAll('\n', '\r\n');
    case 1:
      return text.replace(/^ +/gm, (blanks) => '\t'.repeat(Math.ceil(blanks.length / 2)));
    case 2:
      return text.replace(/;\n\s*/g, '; ');
    case 3:
      return text.replace(/;/g, ' ;  ');
    case 4:
      return text.replace(/ \{/g, () => (random.chance(50) ? '\n{' : '{'));
    case 5:
      return text.replace(/\n/g, () => (random.chance(20) ? ' # a "comment" { ;\n' : '\n'));
    case 6:
      return `\n\n${text.trimEnd()}`;
    default:
      return text;
  }
}

/** A value at or just beyond the edge of what an option takes. */
function edgeValue(random: Random, option: OptionKind): string {
  switch (option.kind) {
    case 'boolean':
    case 'flag':
      return random.pick(['yes', 'no', '"yes"', 'true', 'on', '1', 'YES']);
    case 'enum':
      return random.pick([...option.values, ...option.values, option.values[0]!.toUpperCase(), 'none']);
    case 'symbol-or-number':
      return random.pick([...option.values, String(option.min), String(option.max), String(option.max + 1), '0', '1K', 'Majority']);
    case 'number': {
      if (option.unchecked) return random.pick(['"r0"', 'r1/0', '17']);
      const { min, max, scale } = option;
      const top = Math.min(max, 2 ** 53 - 1);
      const plain = [min, top, min - 1, top + 1, option.default, Math.floor((min + top) / 2)];
      const units = [
        `${Math.floor((top * scale) / 1024)}k`,
        `${Math.floor((top * scale) / 2 ** 20)}M`,
        `${Math.ceil((top * scale) / 2 ** 30)}G`,
      ];
      const odd = [
        '1s',
        '3k',
        '10T',
        '0x10',
        '1.5M',
        '-1',
        '+5',
        '00012',
        '18446744073709551615',
        '18446744073709551616',
        '5KB',
        '7S',
        '""',
      ];
      return random.pick([...plain.map(String), ...plain.map(String), ...units, ...units.map((u) => u.toUpperCase()), ...odd]);
    }
    default: {
      const limit = option.maxLength ?? 100;
      const lengths = [limit, limit + 1, 127, 128, 129, 255, 256].map((n) => 'x'.repeat(n));
      return random.pick([
        'sha1',
        '"a b"',
        '"tab\there"',
        '"q\\"uote"',
        '"back\\\\slash"',
        '"o\'clock"',
        '"$HOME;`x`"',
        '"é"',
        '""',
        ...lengths,
      ]);
    }
  }
}

/** Options that do not mean the same in all releases. */
const OTHERWISE: ReadonlySet<string> = new Set(['bitmap', 'transport', 'cpu-mask']);

const HEAD = 'global { usage-count no; disable-ip-verification; }\n';

/** Statements of one section, with values at the edges. */
function edges(random: Random): string {
  const groups = ['net', 'disk', 'options', 'startup', 'handlers', 'peer-device'] as const;
  const group = random.pick(groups);
  const known = optionsOf(group).filter((o) => o.kind !== 'keyring' && !OTHERWISE.has(o.name) && o.since === undefined);
  const chosen = random.some(known, 3);
  const lines = chosen.map((o) => `    ${random.chance(8) ? 'no-' : ''}${o.name}${random.chance(6) ? '' : ` ${edgeValue(random, o)}`};`);
  return `  ${group === 'peer-device' ? 'disk' : group} {\n${lines.join('\n')}\n  }\n`;
}

const FENCING = ['resource-only', 'resource-and-stonith', 'dont-care'];

/** What distributions and guides of the 8.3 and 8.4 years put there. */
function legacy(random: Random, release: string): Site {
  // Until 9.22 a syncer section took no options of peer devices.
  const rate = release === '9.22.0' ? '' : `rate ${random.pick(['10M', '33M', '110M', '"700000K"', '4G'])};`;
  const count = 1 + random.below(3);
  const resources: string[] = [];
  for (let i = 0; i < count; i++) {
    const port = 7788 + i;
    const host = (name: string, n: number) => {
      const meta = random.pick([
        'meta-disk internal;',
        'flexible-meta-disk internal;',
        `meta-disk /dev/sdc1[${i}];`,
        `meta-disk /dev/sdc1 [${i}];`,
        `flexible-meta-disk /dev/md${i};`,
      ]);
      const device = random.pick([`/dev/drbd${i}`, `/dev/drbd${i} minor ${i}`, `minor ${i}`, `drbd${i}`, `/dev/drbd_r${i} minor ${i}`]);
      return `  on ${name} {
    device    ${device};
    disk      ${random.pick([`/dev/sdb${i + 1}`, `/dev/mapper/vg0-lv${i}`, `"/dev/disk/by-id/x:${i}"`])};
    address   ${random.pick(['', 'ipv4 '])}192.168.${n}.1${n}:${port};
    ${meta}
  }
`;
    };
    const sections = random.some(
      [
        `  protocol ${random.pick(['A', 'B', 'C', 'c'])};\n`,
        `  syncer { ${rate} ${random.pick(['', 'al-extents 257;', 'verify-alg sha1;', 'csums-alg md5;', 'after "r0";', 'cpu-mask 3;'])} }\n`,
        `  startup { wfc-timeout ${random.below(200)}; degr-wfc-timeout 120; ${random.pick(['', 'become-primary-on both;', 'become-primary-on alpha bravo;', 'outdated-wfc-timeout 2;', 'wait-after-sb;'])} }\n`,
        `  net {\n    cram-hmac-alg "sha1";\n    shared-secret "${random.pick(['FooFunFactory', 'a"b', 'secret;'].map((s) => s.replace('"', '\\"')))}";\n    ${random.pick(['allow-two-primaries;', 'allow-two-primaries yes;', 'after-sb-0pri discard-zero-changes;', 'after-sb-1pri consensus;\n    after-sb-2pri disconnect;', 'max-buffers 8000;\n    max-epoch-size 8000;', 'sndbuf-size 0;', 'unplug-watermark 16;', 'no-tcp-cork;'])}\n  }\n`,
        `  disk { on-io-error ${random.pick(['detach', 'pass_on', 'call-local-io-error', 'panic'])}; ${random.pick(['', 'no-disk-flushes; no-md-flushes;', 'no-disk-barrier;', 'use-bmbv;', release === '9.22.0' ? '' : `fencing ${random.pick(FENCING)};`, 'size 10G;', 'resync-rate 40M;', 'c-plan-ahead 0;', 'disk-timeout 30;'])} }\n`,
        `  handlers {\n    ${random.pick(['fence-peer', 'outdate-peer', 'pri-on-incon-degr', 'split-brain', 'after-resync-target'])} "/usr/lib/drbd/notify.sh; echo b > /proc/sysrq-trigger ; reboot -f";\n  }\n`,
        edges(random),
      ],
      5,
    );
    const name = random.pick([`r${i}`, `"r${i}"`, `drbd-mysql${i}`, `home.${i}`]);
    const order = random.chance(50)
      ? [sections.join(''), host('alpha', 1), host('bravo', 2)]
      : [host('bravo', 2), host('alpha', 1), sections.join('')];
    resources.push(`resource ${name} {\n${order.join('')}}\n`);
  }
  const common = random.chance(60)
    ? `common {\n  protocol C;\n${random.chance(40) ? `  syncer { ${rate} }\n` : ''}${random.chance(40) ? edges(random) : ''}}\n`
    : '';
  const global = `global {\n  usage-count ${random.pick(['yes', 'no', 'ask'])};\n${random.some(['  minor-count 64;\n', '  dialog-refresh 5; # seconds\n', '  disable-ip-verification;\n', '  disable-ip-verification;\n'], 3).join('')}}\n`;
  return {
    [MAIN]: layOut(
      random,
      `# You can find an example in  /usr/share/doc/drbd.../drbd.conf.example\n${global}${common}${resources.join('\n')}`,
    ),
  };
}

/** The distributions' layout: a main file that includes a folder. */
function included(random: Random): Site {
  const files: Record<string, string> = {};
  const count = 1 + random.below(4);
  for (let i = 0; i < count; i++) {
    const text = `resource ${random.pick(['res', 'r', '"my res '].map((p) => (p.startsWith('"') ? `${p}${i}"` : `${p}${i}`)))} {
${edges(random)}  device minor ${i};
  disk /dev/vg/lv${i};
  meta-disk internal;
  on alpha { address 10.1.0.1:${7000 + i}; node-id 0; }
  on bravo { address 10.1.0.2:${7000 + i}; node-id 1; }
}
`;
    files[`drbd.d/${random.pick(['r', 'a', 'z', '0'])}${i}.res`] = layOut(random, text);
  }
  files['drbd.d/global_common.conf'] = `${HEAD}common {\n${edges(random)}}\n`;
  if (random.chance(20)) files['drbd.d/sub/more.res'] = 'include "../*.res";\n';
  if (random.chance(20)) files['drbd.d/loop.res'] = 'include "../drbd.conf";\ninclude "loop.res";\n';
  const odd = random.pick([
    '',
    'include "drbd.d/nothing.conf";\n',
    'include "drbd.d/nothing*.conf";\n',
    'include "drbd.d/sub/*";\n',
    'include "drbd.d/[a-z]*.res";\n',
    'include "drbd.d/??.res";\n',
    'include "drbd.d/*";\n',
    'include drbd.d/global_common.conf;\n',
    'include "drbd.d";\n',
    'include drbd.d/*.res;\n',
    'include "./drbd.d//*.res";\n',
    'include "";\n',
  ]);
  files[MAIN] = `include "drbd.d/global_common.conf";\n${odd}include "drbd.d/*.res";\n`;
  return files;
}

/** As LINSTOR writes its resources, several nodes with explicit connections. */
function generated(random: Random): Site {
  const nodes = NODES.slice(0, 2 + random.below(3));
  const vnrs = random.chance(60) ? [0] : [0, 1];
  const diskless = random.chance(30) ? nodes.length - 1 : -1;
  const name = random.pick(['pvc-0e3b2c51-8d7a-4b8e-9a52-6d2f1f6f6c11', 'rsc_1', 'DfltRsc', 'r'.repeat(60 + random.below(80))]);
  const hosts = nodes.map((node, i) => {
    const volumes = vnrs.map(
      (v) => `        volume ${v}
        {
            disk        ${i === diskless ? 'none' : `/dev/linstor/${'x'.repeat(random.below(3) * 50)}${v}`};
            disk
            {
                ${random.pick(['discard-zeroes-if-aligned yes;', 'rs-discard-granularity 8192;', 'discard-zeroes-if-aligned no;\n                rs-discard-granularity 65536;', ''])}
            }
            meta-disk   ${random.pick(['internal', 'internal', `/dev/linstor/meta_${v}`])};
            device      minor ${1000 + v};
        }`,
    );
    return `    on ${random.chance(50) ? `"${node}"` : node}\n    {\n${volumes.join('\n')}\n        node-id    ${i};\n    }\n`;
  });
  const connections: string[] = [];
  nodes.forEach((a, i) => {
    for (const [k, b] of nodes.slice(i + 1).entries()) {
      const j = i + 1 + k;
      const end = (node: string, n: number, net: number) => `host "${node}" address ipv4 10.43.${net}.${n + 1}:7000;`;
      const paths = random.chance(25)
        ? [1, 2].map((net) => `        path\n        {\n            ${end(a, i, net)}\n            ${end(b, j, net)}\n        }`).join('\n')
        : `        ${end(a, i, 0)}\n        ${end(b, j, 0)}`;
      const extra = random.some(
        [
          '        net { protocol A; }',
          '        disk { c-max-rate 4M; }',
          '        volume 0 { disk { resync-rate 10M; } }',
          '        disk { bitmap no; }',
          '        net { transport "rdma"; _name "other"; }',
        ],
        2,
      );
      connections.push(`    connection${random.chance(5) ? ' "name"' : ''}\n    {\n${[paths, ...extra].join('\n')}\n    }\n`);
    }
  });
  const mesh = `    connection-mesh { hosts ${nodes.join(' ')}; }\n`;
  const hostless = random.chance(8);
  const options = `    options
    {
        on-no-data-accessible ${random.pick(['suspend-io', 'io-error'])};
        on-no-quorum ${random.pick(['suspend-io', 'io-error'])};
        quorum ${random.pick(['majority', 'off', 'all', '2'])};
    }

    net
    {
        cram-hmac-alg     sha1;
        rr-conflict ${random.pick(['retry-connect', 'disconnect'])};
        shared-secret     "${random.pick(['kP+vjHtJ6nr4TVvxVLkk', 'x/y=='])}";
        verify-alg "crct10dif-pclmul";
    }
`;
  const body = [options, ...(hostless ? [] : hosts), random.chance(10) ? mesh : connections.join('\n')].join('\n');
  const template = random.chance(15) ? '    template-file "common.tpl";\n' : '';
  return {
    [MAIN]: `# This file was generated by a program, do not edit.\n${HEAD}include "*.res";\n`,
    'rsc.res': layOut(random, `resource ${name.length > 120 ? `"${name}"` : random.pick([name, `"${name}"`])}\n{\n${template}${body}}\n`),
    ...(random.chance(80) ? { 'common.tpl': `common {\n${edges(random)}}\n` } : {}),
  };
}

/** A resource on top of another, as for a third site. */
function stacked(random: Random): Site {
  const lowerHosts = ['alpha', 'bravo']
    .map((n, i) => `  on ${n} { ${random.chance(50) ? `node-id ${i};` : ''} address 10.0.0.${i + 1}:7788; }\n`)
    .join('');
  const ids = random.chance(50);
  const explicit = random.chance(30);
  const volumes = explicit
    ? '  volume 0 { device minor 0; disk /dev/sda; meta-disk internal; }\n  volume 1 { device minor 1; disk /dev/sdb; meta-disk internal; }\n'
    : '  device /dev/drbd0;\n  disk /dev/sda;\n  meta-disk internal;\n';
  const device = explicit ? 'volume 0 { device minor 10; } volume 1 { device minor 11; }' : 'device /dev/drbd10;';
  const remote = explicit
    ? 'volume 0 { device minor 10; disk /dev/sdz; meta-disk internal; } volume 1 { device minor 11; disk /dev/sdy; meta-disk internal; }'
    : 'device /dev/drbd10; disk /dev/sdz; meta-disk internal;';
  const upper = random.pick([
    `  stacked-on-top-of lower { ${device} address 192.168.42.1:7789; ${ids ? 'node-id 0;' : ''} }\n  on charlie { ${remote} address 192.168.42.2:7789; ${ids ? 'node-id 1;' : ''} }\n`,
    `  on charlie { ${remote} address 192.168.42.2:7789; ${ids ? 'node-id 1;' : ''} }\n  stacked-on-top-of lower { ${device} address 192.168.42.1:7789; ${ids ? 'node-id 0;' : ''} }\n`,
    `  stacked-on-top-of lower { ${device} address 127.0.0.1:7789; ${ids ? 'node-id 0;' : ''} }\n  stacked-on-top-of other { ${device} address 192.168.42.2:7789; ${ids ? 'node-id 1;' : ''} }\n`,
    `  stacked-on-top-of nobody { ${device} address 192.168.42.1:7789; }\n  on charlie { ${remote} address 192.168.42.2:7789; }\n`,
  ]);
  const resources = [
    `resource lower {\n${volumes}${lowerHosts}${random.chance(30) ? edges(random) : ''}}\n`,
    `resource other {\n${volumes.replace('minor 1', 'minor 2')}  on charlie { address 10.0.1.1:7788; }\n  on delta { address 10.0.1.2:7788; }\n}\n`,
    `resource upper {\n  ${random.pick(['protocol A;', '', 'startup { stacked-timeouts; }'])}\n${upper}}\n`,
  ];
  if (random.chance(50)) resources.reverse();
  return { [MAIN]: layOut(random, HEAD + resources.join('\n')) };
}

const FAMILIES = [
  (n: number, port: number) => `10.7.0.${n}:${port}`,
  (n: number, port: number) => `ipv4 10.7.0.${n}:${port}`,
  (n: number, port: number) => `ipv6 [fd00:7::${n}]:${port}`,
  (n: number, port: number) => `ipv6 [fe80::${n}%eth0]:${port}`,
  (n: number, port: number) => `ipv6 [::ffff:10.7.0.${n}]:${port}`,
  (n: number, port: number) => `ipv6 [0:0:0:0:0:0:0:${n + 1}]:${port}`,
  (n: number, port: number) => `sdp 10.7.1.${n}:${port}`,
  (n: number, port: number) => `ssocks 10.7.2.${n}:${port}`,
  (n: number, port: number) => `sci 10.7.3.${n}:${port}`,
  (n: number, port: number) => `127.0.0.${n}:${port}`,
  (n: number, port: number) => `[fd00::${n}]:${port}`,
  (_n: number, port: number) => `10.7.0.300:${port}`,
  (n: number, port: number) => `ipv4 10.7.${n}:${port}`,
  (n: number, _port: number) => `10.7.0.${n}:${[0, 65535, 65536, 99999999][n % 4]}`,
] as const;

/** Hosts known by address, in every family. */
function floating(random: Random): Site {
  const usual = FAMILIES.slice(0, 9);
  const family = () => random.pick(random.chance(85) ? usual : FAMILIES);
  const parts: string[] = [];
  const count = 2 + random.below(2);
  const same = family();
  for (let n = 1; n <= count; n++) {
    const address = (random.chance(80) ? same : family())(n, 7000);
    const body = random.pick([
      ` { node-id ${n - 1}; device minor 3; disk /dev/x; meta-disk internal; }`,
      ` { device minor 3; disk /dev/x; meta-disk internal; }`,
      ';',
      ' { volume 0 { device minor 3; disk /dev/x; } node-id 1; }',
    ]);
    parts.push(
      random.chance(70)
        ? `  floating ${address}${body}\n`
        : `  on ${NODES[n - 1]} { address ${address}; device minor 3; disk /dev/x; meta-disk internal; node-id ${n - 1}; }\n`,
    );
  }
  if (random.chance(40)) parts.unshift('  device minor 3;\n  disk /dev/y;\n');
  if (random.chance(30)) parts.push(`  connection { address ${same(1, 7000)}; address ${same(2, 7000)}; }\n`);
  return { [MAIN]: layOut(random, `${HEAD}resource f {\n${parts.join('')}}\n`) };
}

/** Long distance through proxies, in both syntaxes. */
function proxied(random: Random): Site {
  const options = random.pick(['', 'options { memlimit 100M; }', 'options { plugin { zlib level 9; lz4; } }']);
  const inner = (n: number) => `{ inside 127.0.0.1:778${n}; outside 192.168.${n}.1:7799; ${options} }`;
  const top = random.pick([
    '',
    '  proxy { memlimit 512M; sndbuf-size 1M; plugin { zstd level 4; } }\n',
    '  proxy { plugin { lzma contexts 1 level 2; } }\n',
    '  proxy { compression on; }\n',
  ]);
  const host = (name: string, n: number, more: string) =>
    `  on ${name} { device minor 1; disk /dev/v; meta-disk internal; address 10.0.0.${n}:7788; ${more} }\n`;
  const old = `${host('alpha', 1, `proxy on ${random.pick(['alpha', 'pxy-a', 'alpha bravo'])} ${inner(1)}`)}${host('bravo', 2, random.chance(85) ? `proxy on pxy-b ${inner(2)}` : '')}`;
  const recent = `${host('alpha', 1, 'node-id 0;')}${host('bravo', 2, 'node-id 1;')}  connection {
    host alpha address 10.0.0.1:7788 via proxy on ${random.pick(['alpha', 'pxy-a'])} ${inner(1)}
    ${random.chance(85) ? `host bravo address 10.0.0.2:7788 via proxy on pxy-b ${inner(2)}` : 'host bravo address 10.0.0.2:7788;'}
    ${random.pick(['', 'net { protocol A; }'])}
  }\n`;
  return { [MAIN]: layOut(random, `${HEAD}resource p {\n${top}${random.chance(50) ? old : recent}}\n`) };
}

/** Sections without a neighbour's order, names of many kinds, and blocks that are skipped. */
function unusual(random: Random): Site {
  const names = [
    'alpha',
    'ALPHA.example.com',
    'alpha.other',
    '"host with blank"',
    'bravo',
    '10.0.0.1',
    'net',
    '"net"',
    '_this_host',
    'a,b',
    'node_1',
    '-x',
    '1node',
    '123',
    '"123"',
    'x'.repeat(127),
    'x'.repeat(128),
    'x'.repeat(129),
    'alpha charlie',
    'é',
  ];
  const resourceNames = [
    'r',
    '"a:b"',
    '"a/b"',
    '""',
    'all',
    'minor-1',
    'common',
    '"common"',
    '"tab\tx"',
    'x'.repeat(128),
    `"${'y'.repeat(255)}"`,
    `"${'y'.repeat(256)}"`,
    '"%s%n"',
    '.',
    '..',
    '"$x"',
    '"ünï"',
  ];
  const skip = random.pick(['skip { }', 'skip resource x { on y { } }', 'skip on x { "}" }', 'skip net { # }\n }', 'skip { { }', 'skip']);
  const statements = random.some(
    [
      `  ${skip}\n`,
      `  volume ${random.pick(['0', '1', '65535', '99999999', '-1', '1K', '007'])} { device minor ${random.pick(['0', '1048575', '1048576', '99999999', '1K', '5'])}; disk /dev/q; meta-disk internal; }\n`,
      '  device minor 77;\n  disk /dev/q;\n',
      '  device /dev/drbd77 minor 78;\n',
      '  device /dev/nbd0;\n',
      '  device /dev/drbd_home minor 8;\n',
      '  device;\n',
      '  disk none;\n',
      '  meta-disk internal[0];\n',
      '  meta-disk /dev/md[128];\n',
      '  protocol C;\n  protocol A;\n',
      '  net { protocol A; }\n  protocol C;\n',
      '  options { quorum majority; quorum off; }\n',
      '  disk { resync-rate 1M; }\n  disk { al-extents 7; }\n',
      `  ${random.pick(['ignore-on x;', 'alternate-address 1.2.3.4:5;', 'become-primary-on both;', 'on-io-error detach;', 'include "x";', 'global { }', 'resource y { }', 'tiebreaker no;'])}\n`,
      edges(random),
    ],
    3,
  );
  const a = random.pick(random.chance(60) ? ['alpha'] : names);
  const b = random.pick(random.chance(60) ? ['bravo'] : names);
  const ids = random.pick([
    ['node-id 0;', 'node-id 1;'],
    ['node-id 0;', ''],
    ['', ''],
    ['node-id 3;', 'node-id 3;'],
    ['node-id 31;', 'node-id 32;'],
    ['node-id 33;', 'node-id 00;'],
  ]);
  const host = (name: string, n: number) =>
    `  on ${name} { ${ids[n - 1]} address 10.5.0.${n}:7788; ${random.chance(80) ? 'device minor 5; disk /dev/d; meta-disk internal;' : ''} ${random.chance(5) ? skip : ''} }\n`;
  const connection = random.pick([
    '',
    '',
    '  connection { }\n',
    '  connection { host alpha; host bravo; }\n  connection { host alpha; host bravo; }\n',
    '  connection { host alpha port 7000; host bravo port 7001; }\n',
    '  connection { host alpha; host nobody; }\n',
    '  connection { host alpha; }\n',
    '  connection { host alpha; host bravo; host alpha; }\n',
    '  connection { path { host alpha; host bravo; } host alpha; host bravo; }\n',
    '  connection { path { host alpha; host bravo; } path { host alpha address 1.1.1.1:1; host bravo address 1.1.1.2:1; } }\n',
    '  connection { host alpha; host bravo; volume 0 { disk { resync-rate 1M; } } volume 7 { disk { c-fill-target 0; } } }\n',
    '  connection { host alpha; host bravo; net { } net { timeout 30; } net { timeout 30; } }\n',
    '  connection-mesh { hosts alpha bravo; hosts charlie; }\n',
    '  connection-mesh { hosts alpha; }\n',
    '  connection-mesh { }\n',
    '  connection-mesh { hosts alpha bravo alpha; net { protocol B; } }\n',
    '  connection { address 10.5.0.1:7788; address 10.5.0.2:7788; }\n',
    '  connection { host alpha via proxy on x { inside 1.1.1.1:1; } host bravo; }\n',
  ]);
  const version = random.pick([
    '',
    '',
    '',
    'require-drbd-module-version-ge 9.0.0;\n',
    'require-drbd-module-version-eq 9.0.1;\n',
    'require-drbd-module-version-lt 8.4.0;\n',
    'require-drbd-module-version-ne 9.0.0;\n',
  ]);
  const global = random.pick([
    HEAD,
    HEAD,
    HEAD,
    `${HEAD}${HEAD}`,
    'global { disable-ip-verification; minor-count 0; }\n',
    'global { disable-ip-verification; dialog-refresh 601; cmd-timeout-long 1K; }\n',
    'global { disable-ip-verification; cmd-timeout-medium 900; udev-always-use-vnr; }\n',
    '',
    'global { usage-count maybe; }\n',
  ]);
  const one = `resource ${random.pick(random.chance(60) ? ['r'] : resourceNames)} {\n${[...statements, host(a, 1), host(b, 2), connection].sort(() => (random.chance(70) ? 0 : random.next() - 0.5)).join('')}}\n`;
  const two = `resource ${random.pick(['s', 'r'])} {\n  device minor ${random.pick([5, 6])};\n  disk /dev/${random.pick(['d', 'e'])};\n  on alpha { address 10.5.0.1:${random.pick([7788, 7789])}; }\n  on bravo { address 10.5.0.2:7789; }\n}\n`;
  const parts = [global, version, one, random.chance(40) ? two : ''];
  if (random.chance(10)) parts.push(parts.shift()!);
  return { [MAIN]: layOut(random, parts.join('')) };
}

const STYLES = [legacy, legacy, included, generated, generated, stacked, floating, proxied, unusual, unusual, unusual] as const;

/** A site as people have them; many are valid, some contradict themselves as sites do. */
export function randomSite(seed: number, release = '9.34'): Site {
  const random = new Random(seed * 7 + 3);
  if (random.chance(20)) return { [MAIN]: randomConfig(seed, { release: '9.22.0' }) };
  return random.pick(STYLES)(random, release);
}

/** One file of the site with something broken in it: words, lines, characters, or its end missing. */
export function breakSite(site: Site, seed: number): Site {
  const random = new Random(seed * 31 + 17);
  const name = random.pick(Object.keys(site));
  return { ...site, [name]: breakText(random, site[name]!, seed) };
}

function breakText(random: Random, text: string, seed: number): string {
  if (text === '') return '}';
  const at = random.below(text.length);
  switch (random.below(8)) {
    case 0:
      return text.slice(0, at);
    case 1:
      return text.slice(0, at) + text.slice(at + 1 + random.below(4));
    case 2:
      return (
        text.slice(0, at) +
        random.pick(['{', '}', ';', '"', '#', '\\', '\0', '\n', '=', ',', "'", '*', ':', '[', 'é', '/', '%']) +
        text.slice(at)
      );
    case 3: {
      const lines = text.split('\n');
      const from = random.below(lines.length);
      const moved = lines.splice(from, 1 + random.below(2));
      if (random.chance(60)) lines.splice(random.below(lines.length + 1), 0, ...moved);
      return lines.join('\n');
    }
    case 4: {
      const lines = text.split('\n');
      const line = random.below(lines.length);
      lines.splice(line, 0, lines[line]!);
      return lines.join('\n');
    }
    default:
      return mutate(text, seed);
  }
}
