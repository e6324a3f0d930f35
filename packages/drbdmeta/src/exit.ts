/** Ends a command with a status; everything the user has to know was printed before. Caught in `run`, nowhere else. */
export class Exit extends Error {
  readonly status: number;
  constructor(status: number) {
    super(`exit ${status}`);
    this.status = status;
  }
}
