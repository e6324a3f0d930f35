/** Texts of `drbdsetup show` for `adjust` to compare with: made of the commands that would set a resource up, then disturbed. */
import type { Random } from '../../packages/config/src/testing/random-config.js';
import type { Release } from './releases.js';

interface Peer {
  readonly id: string;
  readonly net: string[];
  readonly paths: [string, string][];
  readonly devices: Map<string, string[]>;
  cstate: string;
}

export interface Running {
  readonly name: string;
  readonly nodeId: string;
  readonly options: string[];
  readonly volumes: Map<string, { minor: string; lines: string[] }>;
  readonly peers: Peer[];
}

const words = (line: string): string[] => (line.match(/(?:\\.|[^ \\])+/g) ?? []).map((w) => w.replace(/\\(.)/g, '$1'));

const quoted = (text: string): string => (/^[a-zA-Z0-9./_-]{1,80}$/.test(text) ? text : `"${text.replace(/["\\]/g, '\\$&')}"`);

const statements = (flags: readonly string[]): string[] =>
  flags
    .filter((f) => f.startsWith('--') && f !== '--set-defaults' && f !== '--diskless')
    .map((flag) => {
      const [, name, value] = /^--([^=]*)(?:=(.*))?$/s.exec(flag)!;
      return value === undefined ? `${name};` : `${name} ${quoted(value)};`;
    });

const shownAddress = (argument: string): string => argument.replace(/:/, ' ');

/** What runs after these command lines of `drbdadm -d adjust`. */
export function showOf(commands: string): Running[] {
  const running: Running[] = [];
  for (const line of commands.split('\n')) {
    const [tool, command, name, ...rest] = words(line);
    if (tool !== 'drbdsetup' || name === undefined) continue;
    const res = running.find((r) => r.name === name);
    switch (command) {
      case 'new-resource':
        running.push({ name, nodeId: rest[0]!, options: statements(rest), volumes: new Map(), peers: [] });
        break;
      case 'new-minor':
        res?.volumes.set(rest[1]!, { minor: rest[0]!, lines: rest.includes('--diskless') ? ['disk none;'] : [] });
        break;
      case 'new-peer':
        res?.peers.push({ id: rest[0]!, net: statements(rest), paths: [], devices: new Map(), cstate: 'Connected' });
        break;
      case 'new-path':
        res?.peers.find((p) => p.id === rest[0])?.paths.push([rest[1]!, rest[2]!]);
        break;
      case 'peer-device-options':
        res?.peers.find((p) => p.id === rest[0])?.devices.set(rest[1]!, statements(rest.slice(2)));
        break;
      case 'attach': {
        const volume = running.flatMap((r) => [...r.volumes.values()]).find((v) => v.minor === name);
        const [disk, meta, index] = rest as [string, string, string];
        const metaDisk = index === 'internal' ? 'internal' : index === 'flexible' ? quoted(meta) : `${quoted(meta)} [ ${index} ]`;
        const options = statements(rest.slice(3)).filter((s) => !s.startsWith('size '));
        volume?.lines.push(
          `disk ${quoted(disk)};`,
          `meta-disk ${metaDisk};`,
          ...(options.length === 0 ? [] : [`disk { ${options.join(' ')} }`]),
        );
        break;
      }
    }
  }
  return running;
}

const OTHER_OPTIONS = [
  'timeout 70;',
  'verify-alg "md5";',
  'max-buffers 4000;',
  'protocol A;',
  'transport "rdma";',
  'ping-timeout 9;',
  'load-balance-paths yes;',
];
const STATES = ['StandAlone', 'Connecting', 'Connected', 'Unconnected', 'NetworkFailure'];

/** Changes this and that. */
export function disturb(random: Random, running: readonly Running[]): Running[] {
  for (const res of running) {
    if (random.chance(30)) continue;
    for (let n = random.below(3); n >= 0; n--) disturbResource(random, res);
  }
  const left = running.filter(() => random.chance(92));
  const more: Running[] = random.chance(10)
    ? [{ name: 'elsewhere', nodeId: '0', options: [], volumes: new Map([['0', { minor: '900', lines: ['disk none;'] }]]), peers: [] }]
    : [];
  return [...left, ...more];
}

/** As that release shows it. */
export const showText = (running: readonly Running[], release: Release): string => running.map((res) => text(res, release)).join('\n');

function disturbResource(random: Random, res: Running): void {
  const peer = res.peers.length > 0 ? random.pick(res.peers) : undefined;
  const volumes = [...res.volumes];
  const volume = volumes.length > 0 ? random.pick(volumes) : undefined;
  switch (random.below(12)) {
    case 0:
      if (peer !== undefined) peer.cstate = random.pick(STATES);
      break;
    case 1:
      if (peer !== undefined) res.peers.splice(res.peers.indexOf(peer), 1);
      break;
    case 2:
      peer?.net.push(random.pick(OTHER_OPTIONS.filter((o) => !peer.net.some((n) => n.split(' ')[0] === o.split(' ')[0]))));
      break;
    case 3:
      peer?.net.pop();
      break;
    case 4:
      peer?.paths.pop();
      break;
    case 5:
      peer?.paths.push(['ipv4:10.99.0.1:7000', 'ipv4:10.99.0.2:7000']);
      break;
    case 6:
      res.peers.push({
        id: '9',
        net: ['_name "gone";'],
        paths: [['ipv4:10.98.0.1:1', 'ipv4:10.98.0.2:1']],
        devices: new Map(),
        cstate: random.pick(STATES),
      });
      break;
    case 7:
      if (volume !== undefined) res.volumes.delete(volume[0]);
      break;
    case 8:
      res.volumes.set('44', { minor: '944', lines: random.pick([[], ['disk none;'], ['disk /dev/old;', 'meta-disk internal;']]) });
      break;
    case 9:
      if (volume !== undefined)
        volume[1].lines = random.pick([[], ['disk none;'], ['disk "/dev/other";', 'meta-disk internal;', 'disk { size 1024s; }']]);
      break;
    case 10:
      if (volume !== undefined) volume[1].minor = String(Number(volume[1].minor) + 500);
      break;
    default:
      res.options.push('quorum-minimum-redundancy majority;');
  }
}

function text(res: Running, release: Release): string {
  const lines = [`resource ${quoted(res.name)} {`];
  const section = (indent: string, name: string, body: readonly string[]) => {
    if (body.length > 0) lines.push(`${indent}${name} {`, ...body.map((b) => `${indent}    ${b}`), `${indent}}`);
  };
  section('    ', 'options', res.options);
  lines.push('    _this_host {', `        node-id ${res.nodeId};`);
  for (const [vnr, volume] of res.volumes) section('        ', `volume ${vnr}`, [`device minor ${volume.minor};`, ...volume.lines]);
  lines.push('    }');
  for (const peer of res.peers) {
    lines.push('    connection {', `        _peer_node_id ${peer.id};`);
    for (const [mine, theirs] of peer.paths)
      section('        ', 'path', [`_this_host ${shownAddress(mine)};`, `_remote_host ${shownAddress(theirs)};`]);
    if (release === '9.34') lines.push(`        _cstate ${peer.cstate};`);
    else if (peer.cstate === 'StandAlone') lines.push('        _is_standalone;');
    section('        ', 'net', peer.net);
    for (const [vnr, options] of peer.devices)
      if (options.length > 0) lines.push(`        volume ${vnr} {`, `            disk { ${options.join(' ')} }`, '        }');
    lines.push('    }');
  }
  lines.push('}', '');
  return lines.join('\n');
}
