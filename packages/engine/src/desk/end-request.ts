/** How a daemon is told to end: a signal asks, a later one insists. */

/**
 * Signals so close together are one request. A service manager that signals a whole group and its main process, a shell that passes on
 * what its terminal sends it, `timeout`, a key that bounces: each is somebody who has not yet seen what the first one did, and to insist
 * cuts off what is in use.
 */
export const ONE_REQUEST_MS = 1000;

export class EndRequest {
  readonly #now: () => number;
  #askedAt: number | undefined;

  /** @param now - milliseconds of a clock that only goes forward */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** A signal has come: it asks, belongs to the one that asked, or insists. */
  signalled(): 'asks' | 'belongs' | 'insists' {
    const now = this.#now();
    if (this.#askedAt === undefined) {
      this.#askedAt = now;
      return 'asks';
    }
    return now - this.#askedAt < ONE_REQUEST_MS ? 'belongs' : 'insists';
  }
}
