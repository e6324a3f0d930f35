/** What may be written only once: remembers who was first and says so when a second one comes. */
import { EXIT, Fatal, type Report } from './report.js';

interface First {
  readonly what: string;
  readonly file: string;
  readonly line: number;
}

export class Uniqueness {
  readonly #run = new Map<string, First>();
  readonly #resource = new Map<string, First>();
  readonly #report: Report;
  /** `drbdsetup show` never repeats itself, and what it shows may look as if. */
  enabled = true;

  constructor(report: Report) {
    this.#report = report;
  }

  /** A new resource begins: what was unique in the last one may come again. */
  nextResource(): void {
    this.#resource.clear();
  }

  inRun(file: string, line: number, what: string, key: string): void {
    this.#check(this.#run, file, line, what, key);
  }

  inResource(file: string, line: number, what: string, key: string): void {
    this.#check(this.#resource, file, line, what, key);
  }

  #check(table: Map<string, First>, file: string, line: number, what: string, key: string): void {
    if (!this.enabled) return;
    const first = table.get(key);
    if (first === undefined) {
      table.set(key, { what, file, line });
      return;
    }
    this.#report(`${file}:${line}: conflicting use of ${what} '${key}' ...\n`);
    this.#report(`${first.file}:${first.line}: ${first.what} '${key}' first used here.\n`);
    throw new Fatal(EXIT.configInvalid);
  }
}
