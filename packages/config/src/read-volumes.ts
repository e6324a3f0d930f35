/** Volumes: explicit sections and the statements that stand for volume 0. */
import type { Node } from './ast.js';
import { checkDevice, isDeviceName } from './device.js';
import { newVolume, type Volume } from './model.js';
import { readOptionSection } from './read-options.js';
import { numberOf, type ReadState } from './read-state.js';

/** The volume that statements outside of a volume section are about. */
export function implicitVolume(state: ReadState, volumes: Volume[], line: number): Volume {
  let volume = volumes.find((v) => v.vnr === 0);
  if (volume === undefined && volumes.length === 0) {
    volume = newVolume(0, true);
    volumes.push(volume);
  }
  if (volume === undefined || !volume.implicit) {
    state.error(line, 'mixing explicit and implicit volumes is not allowed');
    volume ??= newVolume(0, true);
  }
  return volume;
}

/**
 * A `volume` section; the volumes stay sorted by number.
 * @param start - line to which messages about its statements point until a section within it begins
 */
export function readVolume(
  state: ReadState,
  volumes: Volume[],
  node: Node,
  statement: (volume: Volume, child: Node, line: number) => void,
  start = node.at.line,
): void {
  const number = node.words[0];
  if (number === undefined || node.openLine === undefined) state.syntaxError();
  const volume = newVolume(numberOf(number));
  const after = volumes.findIndex((v) => v.vnr > volume.vnr);
  if (after < 0) volumes.push(volume);
  else volumes.splice(after, 0, volume);
  let line = start;
  for (const child of node.body) {
    statement(volume, child, line);
    if (child.type === 'disk-options') line = child.openLine ?? line;
  }
  state.complete(node);
}

export function readVolumeStatement(state: ReadState, volume: Volume, node: Node, checkDeviceName: boolean, line: number): void {
  switch (node.type) {
    case 'device':
      readDevice(state, volume, node, checkDeviceName, line);
      return;
    case 'disk':
      readDisk(state, volume, node, line);
      return;
    case 'meta-disk':
      readMetaDisk(state, volume, node, line);
      return;
    case 'disk-options':
      readVolumeOptions(state, volume, node);
      return;
    case 'tiebreaker':
      state.complete(node);
      volume.tiebreaker = node.words[0]!.text === 'yes';
      volume.tiebreakerHere = true;
      return;
    default:
      state.syntaxError();
  }
}

export function readVolumeOptions(state: ReadState, volume: Volume, node: Node): void {
  // Options alone make stock show the disk, too, as if it were written here.
  volume.diskHere = true;
  // Of several sections the last one's disk options count, and all of their peer device options.
  volume.diskOptions = [];
  readOptionSection(state, node, [
    [volume.diskOptions, ['disk']],
    [volume.peerDeviceOptions, ['peer-device']],
    [volume.deviceOptions, ['device']],
  ]);
}

export function readDisk(state: ReadState, volume: Volume, node: Node, line: number): void {
  state.complete(node);
  volume.disk = node.words[0]!.text;
  volume.diskHere = true;
  volume.diskLine = line;
}

export function readMetaDisk(state: ReadState, volume: Volume, node: Node, line: number): void {
  state.complete(node);
  const device = node.words[0]!.text;
  volume.metaDisk = device;
  volume.metaIndex = device === 'internal' ? 'internal' : (node.index?.text ?? 'flexible');
  volume.metaDiskHere = true;
  volume.metaDiskLine = line;
}

/** @param at - line to which messages about the device point */
export function readDevice(state: ReadState, volume: Volume, node: Node, isLocal: boolean, at: number, anyName = false): void {
  const given = node.words[0]?.text;
  const device = given?.startsWith('drbd') ? `/dev/${given}` : given;
  if (device !== undefined && isLocal && !anyName && !isDeviceName(device))
    state.error(at, 'device name must start with /dev/drbd\n\t(/dev/ is optional, but drbd is required)');
  state.complete(node);
  volume.deviceHere = true;
  volume.deviceLine = at;
  const minor = node.minor === undefined ? undefined : numberOf(node.minor);
  if (device === undefined) {
    if (minor !== undefined) volume.minor = minor;
    return;
  }
  volume.device = device;
  const verdict = checkDevice(device, minor, isLocal, state.context.isDrbdDevice);
  if (verdict.minor !== undefined) volume.minor = verdict.minor;
  for (const problem of verdict.errors) state.error(at, problem);
  if (verdict.warning !== undefined && !anyName) state.warn(at, verdict.warning);
}
