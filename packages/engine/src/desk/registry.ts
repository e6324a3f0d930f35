/** What is configured: resources by name and by their number towards the reactor, volumes by minor. */
import type { ResourceEntry, VolumeEntry } from './resource-entry.js';

export class Registry {
  readonly resources = new Map<string, ResourceEntry>();
  readonly byHost = new Map<number, ResourceEntry>();
  readonly minors = new Map<number, { readonly entry: ResourceEntry; readonly volume: VolumeEntry }>();

  get entries(): ResourceEntry[] {
    return [...this.resources.values()];
  }

  has(entry: ResourceEntry): boolean {
    return this.resources.get(entry.name) === entry;
  }

  /** The first number that no resource has. */
  freeHost(): number {
    let host = 0;
    while (this.byHost.has(host)) host++;
    return host;
  }

  add(entry: ResourceEntry): void {
    this.resources.set(entry.name, entry);
    this.byHost.set(entry.host, entry);
  }

  remove(entry: ResourceEntry): void {
    this.resources.delete(entry.name);
    this.byHost.delete(entry.host);
  }

  rename(entry: ResourceEntry, name: string): void {
    this.resources.delete(entry.name);
    entry.name = name;
    this.resources.set(name, entry);
  }

  addVolume(entry: ResourceEntry, volume: VolumeEntry): void {
    this.minors.set(volume.minor, { entry, volume });
    entry.volumes.set(volume.volume, volume);
  }

  removeVolume(entry: ResourceEntry, volume: VolumeEntry): void {
    entry.volumes.delete(volume.volume);
    this.minors.delete(volume.minor);
  }
}
