/** Volumes of a host: what they take over from the resource, whether they are complete, whether all hosts have the same ones. */
import { type Host, hasDisk, namesOf, newVolume, type Resource, type Volume } from './model.js';
import type { Report } from './report.js';
import type { Uniqueness } from './uniqueness.js';

export interface VolumeChecks {
  readonly report: Report;
  readonly unique: Uniqueness;
  /** Called for every error; a mere warning does not call it. */
  invalid(): void;
  readonly isTty: boolean;
}

const numbered = (volumes: readonly Volume[], vnr: number): Volume | undefined => volumes.find((v) => v.vnr === vnr);

/** Gives a host every volume of the resource, and each of its volumes what it lacks: disk, device, meta-disk. */
export function inheritVolumes(res: Resource, host: Host, { unique }: VolumeChecks): void {
  for (const from of res.volumes) {
    let to = numbered(host.volumes, from.vnr);
    // What is added to a volume that the host has already is not known to stand anywhere.
    const lineOf = to === undefined ? (line: number) => line : () => 0;
    if (to === undefined) {
      to = { ...newVolume(from.vnr, from.implicit), isInherited: true, deviceLine: from.deviceLine };
      const after = host.volumes.findIndex((v) => v.vnr > from.vnr);
      if (after < 0) host.volumes.push(to);
      else host.volumes.splice(after, 0, to);
    }
    if (to.disk === undefined && from.disk !== undefined) {
      to.disk = from.disk;
      if (from.disk !== 'none')
        for (const name of host.names) unique.inRun(res.fileAsGiven, lineOf(from.diskLine), 'disk', `disk:${name}:${from.disk}`);
    }
    if (to.device === undefined && to.minor === undefined && (from.device !== undefined || from.minor !== undefined)) {
      to.device = from.device;
      to.minor = from.minor;
      for (const name of host.names) {
        const line = lineOf(from.deviceLine);
        if (from.minor !== undefined) unique.inRun(res.fileAsGiven, line, 'device-minor', `device-minor:${name}:${from.minor}`);
        if (from.device !== undefined) unique.inRun(res.fileAsGiven, line, 'device', `device:${name}:${from.device}`);
      }
    }
    if (to.metaDisk === undefined && from.metaDisk !== undefined) {
      to.metaDisk = from.metaDisk;
      to.metaIndex = from.metaIndex;
      to.metaDiskLine = lineOf(from.metaDiskLine);
    }
    to.tiebreaker ??= from.tiebreaker;
  }
}

/** External meta-data must not be used twice. */
export function checkMetaDisks(res: Resource, host: Host, { unique }: VolumeChecks): void {
  for (const volume of host.volumes) {
    if (volume.metaDisk === undefined || volume.metaDisk === 'internal') continue;
    for (const name of host.names)
      unique.inRun(res.fileAsGiven, volume.metaDiskLine, 'meta-disk', `${name}:${volume.metaDisk}[${volume.metaIndex}]`);
  }
}

/** A volume needs a device; with a meta-disk also a disk; without a word about its disk it has none. */
export function checkComplete(res: Resource, host: Host, { report, invalid }: VolumeChecks): void {
  const missing = (keyword: string) => {
    report(`${host.file}:${host.line}: in resource ${res.name}, on ${namesOf(host)} { ... }: '${keyword}' keyword missing.\n`);
    invalid();
  };
  // The output of `drbdsetup show`, kept as a configuration, is taken for complete.
  if (host.names[0] === '_this_host') return;
  for (const volume of host.volumes) {
    if (volume.device === undefined && volume.minor === undefined) missing('device');
    if (host.lowerName !== undefined) continue;
    if (volume.disk === undefined && volume.metaDisk === undefined) volume.disk = 'none';
    if (volume.disk === 'none') continue;
    if (volume.disk === undefined) missing('disk');
    if (volume.metaDisk === undefined) {
      volume.metaDisk = 'internal';
      volume.metaIndex = 'internal';
    }
  }
}

/**
 * Compares the volumes of one host with another's.
 * @param other - name shown for the other side
 * @param lowerMayHaveMore - the other one is the resource below a stacked host
 */
export function compareVolumes(
  res: Resource,
  host: Host,
  others: readonly Volume[],
  other: string,
  checks: VolumeChecks,
  lowerMayHaveMore = false,
): void {
  const { report, invalid } = checks;
  const where = `${res.file}:${res.line}: in resource ${res.name}, on ${namesOf(host)} `;
  const numbers = [...new Set([...host.volumes, ...others].map((v) => v.vnr))].sort((a, b) => a - b);
  for (const vnr of numbers) {
    const mine = numbered(host.volumes, vnr);
    const theirs = numbered(others, vnr);
    if (mine === undefined) {
      if (lowerMayHaveMore && !checks.isTty) continue;
      report(`${where}{ ... }: volume ${vnr} missing (present on ${other})\n`);
      if (!lowerMayHaveMore) invalid();
    } else if (theirs === undefined) {
      report(`${where}{ ... }: volume ${vnr} not defined on ${other}\n`);
      invalid();
    } else if (mine.implicit !== theirs.implicit) {
      report(`${where}resp. ${other}: volume ${vnr} must not be implicit on one but not the other\n`);
      invalid();
    }
  }
}

/** Implicit volume 0 and numbered ones do not go together. */
export function checkImplicitVolumes(res: Resource, host: Host, { report, invalid }: VolumeChecks): void {
  if (host.volumes.some((v) => v.implicit) && host.volumes.some((v) => v.vnr !== 0)) {
    report(`${res.file}:${res.line}: in resource ${res.name}: you must not mix implicit and explicit volumes\n`);
    invalid();
  }
}

/** Whether any volume of the host has a disk. */
export const isDiskful = (host: Host): boolean => host.volumes.some(hasDisk);
