/** The three commands: odd command lines, and an engine that answers drbdsetup with something else than the truth. */
import { closeSync, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import {
  CONTROL_VERSION,
  createLineDecoder,
  encodeLine,
  type Notification,
  REQUEST_LINE_MAX,
  type Snapshot,
} from '../../packages/control/src/index.js';
import { parseRequest } from '../../packages/control/src/schemas.js';
import { COMMANDS as ADM_COMMANDS } from '../../packages/drbdadm/src/commands.js';
import { acceptedOptions } from '../../packages/drbdadm/src/general-options.js';
import { runDrbdadm } from '../../packages/drbdadm/src/testing/stub-io.js';
import { COMMANDS as META_COMMANDS } from '../../packages/drbdmeta/src/commands/index.js';
import { run as runDrbdmeta } from '../../packages/drbdmeta/src/index.js';
import { longOptionsOf, COMMANDS as SETUP_COMMANDS } from '../../packages/drbdsetup/src/command-catalogue.js';
import { run as runDrbdsetup } from '../../packages/drbdsetup/src/run.js';
import { captureIo } from '../../packages/drbdsetup/src/testing/fake-engine.js';
import { parseNotifications, parseSnapshot } from '../../packages/drbdsetup/src/testing/state-file.js';
import { createMetaData, encodeSuperblock, initializedActivityLog, place, placement } from '../../packages/metadata/src/index.js';
import { mutateJson, mutateText, Prng } from './mutate.js';
import { asText, type Fuzzer, fuzzer, holds, type Target } from './target.js';

const isStatus = (status: number): boolean => Number.isInteger(status) && status >= 0 && status <= 255;
const STACK = /^ {4}at \S/m;

// --- an engine to talk to ---

interface Said {
  /** Pieces of text, in this order. */
  readonly pieces: readonly string[];
  readonly thenHangsUp: boolean;
}
type Answerer = (request: { readonly id: number; readonly command: string }) => Said;

interface Engine {
  readonly runDir: string;
  /** From now on. */
  answer: Answerer;
  close(): void;
}

/** In this process, on a socket. */
async function startEngine(): Promise<Engine> {
  const runDir = mkdtempSync(`${tmpdir()}/fuzz-engine-`);
  const sockets = new Set<Socket>();
  const engine: Engine = {
    runDir,
    answer: () => ({ pieces: [], thenHangsUp: true }),
    close: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      rmSync(runDir, { recursive: true });
    },
  };
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    const decoder = createLineDecoder(REQUEST_LINE_MAX);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    socket.on('data', (text) => {
      for (const line of decoder.push(String(text))) {
        if (!line.ok) throw new Error(`no line of the language: ${line.error}`);
        const parsed = parseRequest(line.value);
        // As a real one does where a number is out of its range.
        const { pieces, thenHangsUp } = parsed.ok
          ? engine.answer(parsed.request)
          : { pieces: [encodeLine(parsed.reply)], thenHangsUp: false };
        for (const piece of pieces) socket.write(piece);
        if (thenHangsUp) socket.end();
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(`${runDir}/control.sock`, resolve));
  return engine;
}

/** What recorded engines had, and said. */
function scenarios(): { readonly snapshots: readonly Snapshot[]; readonly events: readonly (readonly Notification[])[] } {
  const folder = new URL('../vectors/drbdsetup/scenarios/', import.meta.url);
  const texts = readdirSync(folder).map((name) => [name, readFileSync(new URL(name, folder), 'utf8')] as const);
  return {
    snapshots: texts.filter(([name]) => !name.startsWith('ev_')).map(([, text]) => parseSnapshot(text)),
    events: texts.filter(([name]) => name.startsWith('ev_')).map(([, text]) => parseNotifications(text)),
  };
}

/** The lines that an honest engine answers with. */
function truth(
  { id, command }: { readonly id: number; readonly command: string },
  snapshot: Snapshot,
  events: readonly Notification[],
): Record<string, unknown>[] {
  const done = { id, code: 101, info: [] };
  switch (command) {
    case 'version':
      return [{ ...done, data: { control: CONTROL_VERSION, engine: '0.1.0', pid: 4711 } }];
    case 'snapshot':
      return [{ ...done, data: snapshot }];
    case 'timeout-type':
      return [{ ...done, data: { timeoutType: 0 } }];
    case 'events':
      return [...events.map((event) => ({ id, event })), done];
    default:
      return [done];
  }
}

const END: Notification = { action: 'exists', kind: '-' };

const setupIo = (runDir: string) => captureIo({ UDRBD_RUN_DIR: runDir, UDRBD_NO_START: '1', UDRBD_STATE_DIR: `${runDir}/state` });

// --- answers ---

const ASKED: readonly (readonly string[])[] = [
  ['status'],
  ['status', 'r0', '--verbose', '--statistics'],
  ['status', '--json'],
  ['show'],
  ['show', '--show-defaults'],
  ['show', '--json'],
  ['events2', '--now'],
  ['events2', '--now', '--full', '--statistics', '--timestamps'],
  ['events2', 'r0', '--diff'],
  ['role', 'r0'],
  ['peer-role', 'r0', '1'],
  ['cstate', 'r0', '1'],
  ['dstate', '0'],
  ['show-gi', 'r0', '1', '0'],
  ['get-gi', 'r0', '1', '0'],
  ['wait-connect-resource', 'r0'],
  ['wait-sync-volume', 'r0', '1', '0'],
  ['udev', '0'],
  ['metrics'],
  ['primary', 'r0'],
  ['attach', '0', '/dev/a', '/dev/a', 'internal'],
  ['new-minor', 'r0', '77', '5'],
  ['down', 'r0'],
  ['down', 'all'],
];
/** The rest asks what there is. */
const CHANGES = new Set(['primary', 'attach', 'new-minor']);

export const answers: Target = {
  name: 'answers',
  what: 'answers of the engine as drbdsetup reads them: lies, halves, noise, an engine that hangs up',
  short: 400,
  open: async () => {
    const engine = await startEngine();
    const { snapshots, events } = scenarios();
    mkdirSync(`${engine.runDir}/state`);
    const make = (prng: Prng) => ({
      words: prng.pick(ASKED),
      snapshot: prng.below(snapshots.length),
      events: prng.below(events.length),
      seed: prng.below(2 ** 30),
    });
    const inner: Fuzzer = fuzzer(
      make,
      async ({ words, snapshot, events: stream, seed }) => {
        const prng = new Prng(seed);
        /** What was said in full and says yes. */
        let hasSaidYes = false;
        /** What was said about what there is. */
        let hasListed = false;
        engine.answer = (request) => {
          const lines = truth(request, snapshots[snapshot]!, prng.chance(50) ? [...events[stream]!, END] : events[stream]!);
          // The version is asked first, each time: mostly it is the right one.
          const isLie = prng.chance(request.command === 'version' ? 10 : 70);
          let text = '';
          const isRefused = isLie && prng.chance(15);
          for (const line of isRefused ? [{ id: request.id, code: prng.pick([101, 158, 162, -2]), info: [] }] : lines) {
            let value: unknown = line;
            if (isLie && !isRefused) for (let n = prng.below(3); n > 0; n--) value = mutateJson(prng, value);
            text += encodeLine(value as object);
          }
          if (isLie && prng.chance(20)) text = mutateText(prng, text);
          if (isLie && prng.chance(15)) text = text.slice(0, prng.below(text.length));
          for (const whole of text.split('\n').slice(0, -1)) {
            const { code, data } = said(whole);
            if (code === 101 || (typeof code === 'number' && code >= 1 && code <= 4)) hasSaidYes ||= request.command !== 'version';
            if (Array.isArray(data?.resources)) hasListed = true;
          }
          const cut = prng.below(text.length + 1);
          return {
            pieces: [text.slice(0, cut), text.slice(cut)].filter((piece) => piece !== ''),
            thenHangsUp: isLie || request.command === 'events',
          };
        };
        const io = setupIo(engine.runDir);
        const status = await runDrbdsetup(words, io);
        holds(isStatus(status), `an exit status, not ${status}`);
        holds(!STACK.test(io.out + io.err), 'nobody meets a stack trace');
        const [command = ''] = words;
        if (status !== 0) holds(io.err !== '', 'a failure says why');
        else if (CHANGES.has(command)) holds(hasSaidYes, 'no success that the engine did not tell of');
        else if (command !== 'events2') holds(hasListed, 'no word about what there is that the engine did not say');
      },
      asText,
    );
    return { ...inner, close: () => engine.close() };
  },
};

function said(line: string): { readonly code?: unknown; readonly data?: { readonly resources?: unknown } } {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? value : {};
  } catch {
    return {};
  }
}

// --- command lines ---

const ODD = [
  '',
  '-',
  '--',
  '-1',
  '0',
  '4294967295',
  '4294967296',
  '18446744073709551616',
  '1e3',
  '0x10',
  '--no-such-option',
  '-Q',
  '=',
  'é',
  '\u0001',
  'all',
  ' ',
];

/** Takes words out, doubles and exchanges them, cuts them off, puts others in. A path stays a path. */
function mutateWords(prng: Prng, seed: readonly string[], dictionary: readonly string[]): string[] {
  const words = [...seed];
  for (let n = prng.below(4); n > 0; n--) {
    const at = prng.below(words.length + 1);
    const other = prng.chance(70) ? prng.pick(dictionary) : prng.pick(ODD);
    const word = words[at];
    if (word === undefined) {
      words.push(other);
      continue;
    }
    switch (prng.below(6)) {
      case 0:
        words.splice(at, 1);
        break;
      case 1:
        words.splice(at, 0, other);
        break;
      case 2:
        words[at] = other;
        break;
      case 3:
        words.splice(at, 0, word);
        break;
      case 4:
        if (!word.includes('/')) words[at] = word.slice(0, prng.below(word.length + 1));
        break;
      default:
        words[at] = `${word}=${other}`;
    }
  }
  return words;
}

const NUMBERS = ['0', '1', '7', '31', '1000'];
const ADDRESSES = ['127.0.0.1:7788', 'ipv4:127.0.0.1:7788', 'ipv6:[::1]:7788', 'ssocks:1.2.3.4:1'];

function setupLine(prng: Prng): string[] {
  const row = prng.pick(SETUP_COMMANDS);
  const objects = { resource: 'r0', 'resource-or-all': prng.pick(['r0', 'all']), peer_node_id: '1', minor: '0', volume: '0' };
  const payload = (row.payload ?? []).map((name) =>
    name.endsWith('addr') ? prng.pick(ADDRESSES) : name.endsWith('dev') ? '/dev/null' : 'internal',
  );
  const options = longOptionsOf(row);
  const given: string[] = [];
  for (let n = options.length === 0 ? 0 : prng.below(4); n > 0; n--) {
    const { name, value } = prng.pick(options);
    if (name === 'watch' || name.endsWith('-timeout')) continue;
    given.push(value === 'none' ? `--${name}` : `--${name}=${prng.pick([...NUMBERS, 'yes', 'no', 'C', '10M', 'auto'])}`);
  }
  return [row.name, ...row.context.map((argument) => objects[argument]), ...payload, ...given];
}

const ADM_CONFIG = `resource r0 {
  net { protocol C; }
  volume 0 { device minor 0; disk /dev/null; meta-disk internal; }
  volume 1 { device minor 1; disk /dev/null; flexible-meta-disk /dev/zero; }
  on alpha { node-id 0; address 127.0.0.1:7788; }
  on beta { node-id 1; address 127.0.0.1:7789; }
}
resource r1 { device minor 5; disk /dev/null; meta-disk internal; on alpha { address 127.0.0.1:7790; } on beta { address 127.0.0.1:7791; } }
`;
const ADM_OBJECTS = ['r0', 'r1', 'r0/0', 'r0/1', 'r0:beta', 'r0:beta/1', 'all', 'minor-0', '/dev/drbd0'];

const META_BYTES = 256 * 1024;
const META_STATUS = new Set([0, 1, 2, 3, 4, 5, 10, 20, 30, 40, 100, 111, 255]);
const META_WORDS = [
  '--force',
  '-q',
  '-v',
  '--verbose',
  '--dry-run',
  '--node-id=1',
  '--node-id',
  '--al-stripes=2',
  '--al-stripe-size-kB=32',
  '-o',
  'json',
  '--initialize-bitmap=zero',
  '--uptodate',
  '--ignore-sanity-checks',
];
const META_READING = new Set(['dstate', 'dump-md', 'get-gi', 'show-gi', 'read-dev-uuid', 'dump-superblock', 'hexdump-superblock']);

export const commandLines: Target = {
  name: 'command-lines',
  what: 'command lines of drbdsetup, drbdadm and drbdmeta',
  short: 600,
  open: async () => {
    const engine = await startEngine();
    const { snapshots, events } = scenarios();
    mkdirSync(`${engine.runDir}/state`);
    const image = `${engine.runDir}/img`;
    const p = placement({ kind: 'internal', deviceBytes: META_BYTES, maxPeers: 1 });
    const md = createMetaData('v09', { maxPeers: 1 });
    place(md, p);
    const fresh = new Uint8Array(META_BYTES);
    fresh.set(initializedActivityLog(md.al_stripes, md.al_stripe_size_4k), p.alOffsetBytes);
    fresh.set(encodeSuperblock(md), p.superblockOffsetBytes);
    const setupWords = [
      ...SETUP_COMMANDS.map(({ name }) => name),
      ...SETUP_COMMANDS.flatMap((row) => longOptionsOf(row).map(({ name }) => `--${name}`)),
    ].filter((word) => word !== '--watch' && !word.endsWith('-timeout') && word !== '--rcvbuf');
    const admWords = [
      ...ADM_COMMANDS.map(({ name }) => name),
      ...acceptedOptions().map(({ name }) => `--${name}`),
      ...ADM_OBJECTS,
      ...NUMBERS,
    ];
    const metaWords = [
      ...META_COMMANDS.map(({ name }) => name),
      ...META_WORDS,
      'v07',
      'v08',
      'v09',
      'flex-external',
      'internal',
      'flex-internal',
      '5',
      '-',
      image,
    ];

    const drbdsetup = async (words: readonly string[]): Promise<void> => {
      engine.answer = (request) => {
        const lines = truth(request, snapshots[words.length % snapshots.length]!, [...events[words.length % events.length]!, END]);
        return { pieces: lines.map((line) => encodeLine(line)), thenHangsUp: request.command === 'events' };
      };
      const io = setupIo(engine.runDir);
      const status = await runDrbdsetup(words, io);
      holds(isStatus(status), `an exit status, not ${status}`);
      holds(!/internal error/.test(io.err), io.err);
      holds(!STACK.test(io.out + io.err), 'nobody meets a stack trace');
    };
    const drbdadm = async (words: readonly string[]): Promise<void> => {
      const { code, calls, stdout, stderr } = await runDrbdadm(ADM_CONFIG, words, {
        env: { UDRBD_RUN_DIR: engine.runDir },
        io: {
          cwd: engine.runDir,
          spawn: () => Promise.resolve({ exitCode: 0, timedOut: false, stdout: '', stderr: '' }),
          sleep: () => Promise.resolve(),
        },
      });
      holds(isStatus(code), `an exit status, not ${code}`);
      holds(!STACK.test(stdout + stderr), 'nobody meets a stack trace');
      for (const call of calls) holds(!/\b(undefined|NaN|null|\[object)\b/.test(call), `a command line: ${call}`);
    };
    const drbdmeta = async (words: readonly string[]): Promise<void> => {
      const fd = openSync(image, 'w+');
      try {
        writeSync(fd, fresh);
      } finally {
        closeSync(fd);
      }
      const io = setupIo(engine.runDir);
      const status = await runDrbdmeta([...words], {
        ...io,
        stdout: (text) => io.stdout(typeof text === 'string' ? text : ''),
        env: { UDRBD_LOCK_DIR: `${engine.runDir}/lock`, UDRBD_STATE_DIR: `${engine.runDir}/state` },
        readAll: () => new Uint8Array(),
        isAttached: () => Promise.resolve(false),
      });
      holds(META_STATUS.has(status), `one of its exit statuses, not ${status}`);
      const after = readFileSync(image);
      holds(after.length === META_BYTES, 'the device keeps its size');
      if (
        words.some((word) => META_READING.has(word)) &&
        !words.some((word) => META_COMMANDS.some(({ name, modifies }) => name === word && modifies))
      )
        holds(after.equals(fresh), 'who reads writes nothing');
    };

    const make = (prng: Prng) => {
      const program = prng.pick(['drbdsetup', 'drbdadm', 'drbdmeta'] as const);
      switch (program) {
        case 'drbdsetup':
          return { program, words: mutateWords(prng, setupLine(prng), setupWords) };
        case 'drbdadm':
          return { program, words: mutateWords(prng, [prng.pick(ADM_COMMANDS).name, prng.pick(ADM_OBJECTS)], admWords) };
        case 'drbdmeta':
          return {
            program,
            words: mutateWords(
              prng,
              ['--force', '-q', prng.pick(['5', '-']), 'v09', image, 'internal', prng.pick(META_COMMANDS).name],
              metaWords,
            ),
          };
      }
    };
    const inner: Fuzzer = fuzzer(
      make,
      ({ program, words }) => {
        switch (program) {
          case 'drbdsetup':
            return drbdsetup(words);
          case 'drbdadm':
            return drbdadm(words);
          case 'drbdmeta':
            return drbdmeta(words);
        }
      },
      asText,
    );
    return { ...inner, close: () => engine.close() };
  },
};
