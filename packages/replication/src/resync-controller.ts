/**
 * How fast a resync runs: the controller of DRBD (drbd_receiver.c fifo_*, drbd_worker.c drbd_rs_controller), one turn every
 * 100 ms. It plans `c-plan-ahead` turns ahead what to request, so that either a fixed amount is in flight
 * (`c-fill-target`) or data is under way for a fixed time (`c-delay-target`).
 */

/** Base units: rates in KiB/s, times in 0.1 s, fill target in sectors, buffers in 4 KiB pages. */
export interface ResyncOptions {
  readonly resyncRate: number;
  readonly cPlanAhead: number;
  readonly cDelayTarget: number;
  readonly cFillTarget: number;
  readonly cMaxRate: number;
  readonly maxBuffers: number;
}

/** Milliseconds between turns. */
export const RESYNC_TURN_MS = 100;

export class ResyncController {
  #options: ResyncOptions;
  /** A ring of planned corrections, in sectors. */
  #plan: Int32Array;
  #head = 0;
  #planned = 0;
  #inFlight = 0;
  #displayed = 0;
  #lastTurn = Number.NEGATIVE_INFINITY;

  constructor(options: ResyncOptions) {
    this.#options = options;
    this.#plan = new Int32Array(options.cPlanAhead);
  }

  /** Sectors requested and not arrived. */
  get inFlightSectors(): number {
    return this.#inFlight;
  }

  /** Rate of the last turn in KiB/s, as progress displays show it. */
  get wantKiBps(): number {
    return this.#displayed;
  }

  /** Takes other settings over. Another `c-plan-ahead` begins an empty plan. */
  configure(options: ResyncOptions): void {
    if (options.cPlanAhead !== this.#options.cPlanAhead) {
      this.#plan = new Int32Array(options.cPlanAhead);
      this.#head = 0;
      this.#planned = 0;
    }
    this.#options = options;
  }

  /** A resync starts: nothing is planned or in flight. */
  restart(): void {
    this.#plan.fill(0);
    this.#head = 0;
    this.#planned = 0;
    this.#inFlight = 0;
    this.#displayed = 0;
    this.#lastTurn = Number.NEGATIVE_INFINITY;
  }

  /** Whether a turn is due. */
  isDue(nowMs: number): boolean {
    return nowMs - this.#lastTurn >= RESYNC_TURN_MS;
  }

  /**
   * One turn.
   * @param sectorsIn - sectors that came back since the last turn, whatever the answer was
   * @returns 4 KiB requests to send now; tell by `requested` how many really went out
   */
  turn(nowMs: number, sectorsIn: number): number {
    this.#lastTurn = nowMs;
    const options = this.#options;
    this.#inFlight = Math.max(0, this.#inFlight - sectorsIn);
    let number: number;
    if (this.#plan.length > 0) {
      number = Math.trunc(this.#sectorsToRequest(sectorsIn) / 8);
      this.#displayed = number * 40;
    } else {
      this.#displayed = options.resyncRate;
      number = Math.trunc(options.resyncRate / 40);
    }
    const room = Math.trunc(options.maxBuffers / 2) - Math.ceil(this.#inFlight / 8);
    return Math.max(0, Math.min(number, room));
  }

  /** Requests for that many sectors went out. */
  requested(sectors: number): void {
    this.#inFlight += sectors;
  }

  #sectorsToRequest(sectorsIn: number): number {
    const { resyncRate, cFillTarget, cDelayTarget, cMaxRate } = this.#options;
    const steps = this.#plan.length;
    let want: number;
    if (this.#inFlight + sectorsIn === 0) want = Math.trunc((resyncRate * 2) / 10) * steps;
    else want = cFillTarget !== 0 ? cFillTarget : sectorsIn * cDelayTarget;
    const perStep = Math.trunc((want - this.#inFlight - this.#planned) / steps);
    for (let i = 0; i < steps; i++) this.#plan[i] = this.#plan[i]! + perStep;
    this.#planned += perStep * steps;
    const now = this.#plan[this.#head]!;
    this.#plan[this.#head] = 0;
    this.#head = (this.#head + 1) % steps;
    this.#planned -= now;
    const most = cMaxRate === 0 ? Number.POSITIVE_INFINITY : Math.trunc((cMaxRate * 2) / 10);
    return Math.max(0, Math.min(sectorsIn + now, most));
  }
}
