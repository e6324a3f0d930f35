/** Long-lived operations of a ring: each object has one operation in flight at a time and a row in the table while it lives. */
import { GENERATION_MASK, KIND, keyOf } from './key-space.js';

export abstract class Operation {
  /** Row in the table, -1 when not registered. */
  row = -1;
  generation = 0;
  inFlight = false;

  /** The operation has completed. `result` is the CQE's, >= 0 or -errno. */
  abstract completed(result: number): void;
  /** The owner whose code runs in `completed`: an exception there stops that resource only. */
  abstract readonly owner: OperationOwner | undefined;
}

export interface OperationOwner {
  fail(error: unknown): void;
}

/** An operation made of a function, for cold paths. */
export class CallbackOperation extends Operation {
  readonly owner: OperationOwner | undefined;
  readonly #done: (result: number) => void;
  constructor(owner: OperationOwner | undefined, done: (result: number) => void) {
    super();
    this.owner = owner;
    this.#done = done;
  }
  override completed(result: number): void {
    this.#done(result);
  }
}

export class OperationTable {
  readonly #rows: (Operation | undefined)[] = [];
  readonly #free: number[] = [];
  #generation = 0;

  register(operation: Operation): void {
    if (operation.row >= 0) return;
    const row = this.#free.pop() ?? this.#rows.length;
    this.#generation = (this.#generation + 1) & GENERATION_MASK;
    operation.row = row;
    operation.generation = this.#generation;
    this.#rows[row] = operation;
  }

  /** Gives the row back. The operation may not be in flight. */
  unregister(operation: Operation): void {
    if (operation.row < 0) return;
    if (operation.inFlight) throw new Error('operation unregistered while in flight');
    this.#rows[operation.row] = undefined;
    this.#free.push(operation.row);
    operation.row = -1;
  }

  at(row: number): Operation | undefined {
    return this.#rows[row];
  }

  find(row: number, generation: number): Operation | undefined {
    const operation = this.#rows[row];
    return operation !== undefined && operation.generation === generation ? operation : undefined;
  }
}

/** The high word of an operation's key; the low one is its row. */
export const operationKey = (operation: Operation): number => keyOf(KIND.Operation, operation.generation);
