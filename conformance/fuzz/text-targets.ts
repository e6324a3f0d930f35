/** Decoders of texts: configuration, the output of `show`, requests of the control socket, the journal. */
import { readdirSync, readFileSync } from 'node:fs';
import { parse } from '../../packages/config/src/grammar.js';
import { loadProxySettings, loadShow } from '../../packages/config/src/index.js';
import { loadFiles } from '../../packages/config/src/testing/memory-source.js';
import { mutate as mutateConfig, randomConfig } from '../../packages/config/src/testing/random-config.js';
import { breakSite, randomSite } from '../../packages/config/src/testing/random-site.js';
import {
  createLineDecoder,
  DEVICE_OPTIONS,
  DISK_OPTIONS,
  encodeLine,
  NET_OPTIONS,
  type OptionRow,
  type OptionTable,
  PEER_DEVICE_OPTIONS,
  REQUEST_LINE_MAX,
  RESOURCE_OPTIONS,
} from '../../packages/control/src/index.js';
import { PARAMETERS, parseRequest } from '../../packages/control/src/schemas.js';
import { bootId, JOURNAL_VERSION, type Journal, OLDEST_JOURNAL_VERSION, parseJournal } from '../../packages/engine/src/desk/journal.js';
import { configurationOf } from '../../packages/engine/src/desk/take-over.js';
import { mutateBytes, mutateJson, mutateText, type Prng } from './mutate.js';
import { asText, fuzzer, holds, type Target } from './target.js';

export const configuration: Target = {
  name: 'configuration',
  what: 'drbd.conf with what it includes: scanner, grammar, options, the model',
  short: 1000,
  open: () =>
    fuzzer(
      (prng: Prng) => {
        const seed = prng.below(2 ** 30);
        if (prng.chance(20)) return { '/etc/drbd.conf': mutateText(prng, mutateConfig(randomConfig(seed % 9973), seed)) };
        let site = randomSite(seed % 9973);
        for (let round = 1 + prng.below(3); round > 0; round--) site = breakSite(site, prng.below(2 ** 30));
        return Object.fromEntries(Object.entries(site).map(([name, text]) => [`/etc/${name}`, text]));
      },
      (files) => {
        for (const entry of ['file', 'template', 'show', 'proxy'] as const) parse(files['/etc/drbd.conf'] ?? '', entry);
        loadFiles(files);
      },
      asText,
    ),
};

/** What `drbdsetup show` prints, as stock's formatter does. */
function shown(): string[] {
  const folder = new URL('../vectors/drbdsetup/v9.34/', import.meta.url);
  const found: string[] = [];
  for (const file of readdirSync(folder)) {
    for (const [resource] of readFileSync(new URL(file, folder), 'utf8').matchAll(/^resource [\s\S]*?^\}$/gm)) found.push(`${resource}\n`);
  }
  return found;
}

const OPTION_WORDS = [RESOURCE_OPTIONS, NET_OPTIONS, DISK_OPTIONS, PEER_DEVICE_OPTIONS, DEVICE_OPTIONS].flatMap((table) =>
  Object.keys(table),
);
const SHOW_WORDS = [
  ...OPTION_WORDS,
  'resource',
  '_this_host',
  '_remote_host',
  '_peer_node_id',
  '_is_standalone;',
  'connection',
  'path',
  'net',
  'volume',
  'device',
  'minor',
  'disk',
  'meta-disk',
  'internal',
  'ipv4',
  'ipv6',
  'node-id',
  '4294967296',
];

export const show: Target = {
  name: 'show',
  what: 'the output of drbdsetup show, and of drbd-proxy-ctl, as adjust reads them',
  short: 1500,
  open: () => {
    const seeds = shown();
    holds(seeds.length > 10, 'there are recorded outputs');
    return fuzzer(
      (prng: Prng) => mutateText(prng, prng.pick(seeds), SHOW_WORDS),
      (text) => {
        loadShow(text, () => undefined, '/etc/drbd.conf');
        loadProxySettings(text, 'proxy', () => undefined);
      },
      (text) => text,
    );
  },
};

// --- control socket ---

function valueFor(prng: Prng, row: OptionRow): unknown {
  switch (row.kind) {
    case 'yes-no':
      return prng.chance(50);
    case 'word':
      return prng.pick(row.words);
    case 'number':
      return prng.pick([row.min, row.max, row.default]);
    case 'number-or-word':
      return prng.chance(50) ? prng.pick(row.words) : row.min;
    case 'text':
      return 'sha1';
  }
}

function optionsFor(prng: Prng, table: OptionTable): object {
  const names = Object.keys(table);
  return Object.fromEntries(
    Array.from({ length: prng.below(4) }, () => prng.pick(names)).map((name) => [name, valueFor(prng, table[name]!)]),
  );
}

const OPTIONS_OF: Readonly<Record<string, OptionTable>> = {
  'new-resource': RESOURCE_OPTIONS,
  'resource-options': RESOURCE_OPTIONS,
  'new-minor': DEVICE_OPTIONS,
  attach: DISK_OPTIONS,
  'disk-options': DISK_OPTIONS,
  'new-peer': NET_OPTIONS,
  'net-options': NET_OPTIONS,
  'peer-device-options': PEER_DEVICE_OPTIONS,
};

/** A request with everything that any command takes: each takes what it knows. */
function request(prng: Prng): Readonly<Record<string, unknown>> {
  const command = prng.pick(Object.keys(PARAMETERS));
  const endpoint = { family: prng.pick(['ipv4', 'ipv6', 'ssocks']), address: prng.pick(['127.0.0.1', '::1']), port: prng.below(65_536) };
  return {
    id: prng.below(100),
    command,
    resource: prng.pick(['r0', 'r1', 'x'.repeat(127)]),
    newName: 'r2',
    nodeId: prng.pick([0, 1, 31, 0xffff_ffff]),
    peerNodeId: prng.below(32),
    minor: prng.below(4),
    volume: prng.below(4),
    options: optionsFor(prng, OPTIONS_OF[command] ?? NET_OPTIONS),
    setDefaults: prng.chance(50),
    force: prng.chance(50),
    backingDev: '/dev/a',
    metaDev: '/dev/a',
    metaIndex: prng.pick([-1, -2, -3, 0, 5]),
    local: endpoint,
    remote: endpoint,
    size: prng.below(2 ** 30),
    start: 0,
    stop: prng.below(2 ** 30),
    alStripes: 1 + prng.below(8),
    alStripeSizeKiB: 32,
  };
}

export const control: Target = {
  name: 'control',
  what: 'lines of the control socket: JSON, requests, their parameters and options',
  short: 5000,
  open: () =>
    fuzzer(
      (prng: Prng) => {
        const lines: string[] = [];
        for (let n = 1 + prng.below(3); n > 0; n--) {
          let value: unknown = request(prng);
          for (let m = prng.below(4); m > 0; m--) value = mutateJson(prng, value);
          lines.push(typeof value === 'object' && value !== null ? encodeLine(value) : `${JSON.stringify(value)}\n`);
        }
        const text = lines.join('');
        const bytes = prng.chance(20) ? mutateBytes(prng, new TextEncoder().encode(text)) : undefined;
        return { text: bytes === undefined ? text : new TextDecoder().decode(bytes), piece: prng.pick([1, 5, 4096]) };
      },
      ({ text, piece }) => {
        const decoder = createLineDecoder(REQUEST_LINE_MAX);
        for (let at = 0; at < text.length; at += piece) {
          for (const line of decoder.push(text.slice(at, at + piece))) {
            if (!line.ok) continue;
            const parsed = parseRequest(line.value);
            if (!parsed.ok) {
              holds(
                parsed.reply.code > 101 && parsed.reply.info.every((info) => typeof info === 'string'),
                'a refusal has a code and texts',
              );
              continue;
            }
            const again = parseRequest(JSON.parse(JSON.stringify(parsed.request)));
            holds(again.ok, 'what is taken is taken again');
            holds(JSON.stringify(again.request) === JSON.stringify(parsed.request), 'and means the same');
            holds(Object.getPrototypeOf(parsed.request) === Object.prototype, 'an ordinary object');
          }
        }
        holds(({} as Record<string, unknown>).x === undefined, 'no prototype was changed');
      },
      ({ text }) => text,
    ),
};

// --- journal ---

const text = (value: unknown): string => JSON.stringify(value);

function journal(prng: Prng, boot: string): Journal {
  const endpoint = { family: 'ipv4' as const, address: '127.0.0.1', port: 7788 };
  const options = (table: OptionTable): Record<string, never> => optionsFor(prng, table) as Record<string, never>;
  return {
    version: prng.chance(80) ? JOURNAL_VERSION : OLDEST_JOURNAL_VERSION,
    bootId: boot,
    pid: 7,
    resources: Array.from({ length: prng.below(3) }, (_, n) => ({
      name: `r${n}`,
      nodeId: n,
      drbd8Compat: prng.chance(20),
      options: options(RESOURCE_OPTIONS),
      volumes: [
        {
          volume: 0,
          minor: n,
          options: options(DEVICE_OPTIONS),
          disk: prng.chance(70) ? { backingDev: '/dev/a', metaDev: '/dev/a', metaIndex: -3, options: options(DISK_OPTIONS) } : null,
        },
      ],
      connections: [
        {
          peerNodeId: 1,
          options: options(NET_OPTIONS),
          paths: [{ local: endpoint, remote: endpoint }],
          peerDevices: [{ volume: 0, options: options(PEER_DEVICE_OPTIONS), resyncPaused: true }],
          connect: true,
        },
      ],
      primary: prng.chance(50),
      ioSuspended: prng.chance(20),
      failIo: prng.chance(20),
    })),
  };
}

export const journals: Target = {
  name: 'journals',
  what: 'the journal, and the requests that the next engine makes of it',
  short: 3000,
  open: () => {
    const boot = bootId();
    return fuzzer(
      (prng: Prng) => {
        let value: unknown = journal(prng, boot);
        for (let n = prng.below(4); n > 0; n--) value = mutateJson(prng, value);
        return prng.chance(20) ? mutateText(prng, text(value)) : text(value);
      },
      (written) => {
        const found = parseJournal(written);
        if (found === undefined || found.version < OLDEST_JOURNAL_VERSION || found.version > JOURNAL_VERSION) return;
        for (const resource of found.resources) for (const made of configurationOf(resource)) parseRequest(made);
      },
      (written) => written,
    );
  },
};
