/**
 * Keeps the order that `resync-after` asks for, across the resources of a reactor: cores tell where their volumes stand, and
 * those that have to wait for another minor, or not any more, are told so.
 */
import { maySync, type ResyncPlace } from '@udrbd/replication';

/** A resource as the order sees it. */
export interface OrderedHost {
  resyncDependency(volume: number, mustWait: boolean): void;
}

interface Member extends ResyncPlace {
  readonly host: OrderedHost;
  readonly volume: number;
}

export class ResyncOrder {
  readonly #members = new Map<number, Member>();

  /** @param place - undefined: the minor is gone */
  moved(host: OrderedHost, volume: number, minor: number, place: ResyncPlace | undefined): void {
    if (place === undefined) this.#members.delete(minor);
    else this.#members.set(minor, { ...place, host, volume });
    this.#evaluate();
  }

  /** A resource was removed, or stopped by a bug: nobody waits for it. */
  left(host: OrderedHost): void {
    for (const [minor, member] of this.#members) if (member.host === host) this.#members.delete(minor);
    this.#evaluate();
  }

  /** What they do with it comes back as another place. */
  #evaluate(): void {
    for (const [minor, { host, volume, isWaiting }] of this.#members) {
      const mustWait = !maySync(this.#members, minor);
      if (mustWait !== isWaiting) host.resyncDependency(volume, mustWait);
    }
  }
}
