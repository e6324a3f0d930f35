/**
 * The names of a block device: `/dev/drbd<minor>`, `/dev/drbd/by-res/<resource>/<volume>`, `/dev/drbd/by-disk/<backing device>`.
 * (`/dev/drbd/by-res/<resource>` for the one volume of a resource that is written without a volume section, as stock's udev rules have it).
 * Symbolic links to what serves the volume. A name that belongs to somebody else is left alone.
 */
import { lstat, mkdir, readlink, rm, rmdir, symlink } from 'node:fs/promises';
import { dirname } from 'node:path';

export interface DeviceNames {
  readonly resource: string;
  readonly volume: number;
  readonly minor: number;
  /** The resource has one volume, written without a volume section: its name is that of the resource. */
  readonly isUnnumbered: boolean;
  /** Without it there is no by-disk name. */
  readonly backingDev: string | undefined;
}

export function linkPaths(devDir: string, names: DeviceNames): string[] {
  const paths = [`${devDir}/drbd${names.minor}`, `${devDir}/drbd/by-res/${names.resource}${names.isUnnumbered ? '' : `/${names.volume}`}`];
  if (names.backingDev !== undefined) paths.push(`${devDir}/drbd/by-disk/${names.backingDev.replace(/^\/dev\//, '').replace(/^\/+/, '')}`);
  return paths;
}

/** Points all names at `target`. @returns the names that could not be made, with the reason */
export async function createLinks(devDir: string, names: DeviceNames, target: string): Promise<string[]> {
  const failures: string[] = [];
  for (const path of linkPaths(devDir, names)) {
    try {
      await mkdir(dirname(path), { recursive: true });
      const present = await lstat(path).catch(() => undefined);
      if (present !== undefined && !present.isSymbolicLink()) {
        failures.push(`${path}: exists`);
        continue;
      }
      await rm(path, { force: true });
      await symlink(target, path);
    } catch (error) {
      failures.push(`${path}: ${(error as Error).message}`);
    }
  }
  return failures;
}

/** Takes the names away that still point at `target`, and folders that are empty then. */
export async function removeLinks(devDir: string, names: DeviceNames, target: string): Promise<void> {
  for (const path of linkPaths(devDir, names)) {
    const pointsAt = await readlink(path).catch(() => undefined);
    if (pointsAt !== target) continue;
    await rm(path, { force: true });
    for (let folder = dirname(path); folder.startsWith(`${devDir}/drbd`); folder = dirname(folder)) {
      // Not empty, or gone already: nothing more to tidy.
      if (
        !(await rmdir(folder).then(
          () => true,
          () => false,
        ))
      )
        break;
    }
  }
}
