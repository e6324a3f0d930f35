/**
 * The queue of `up` and `adjust`: commands are put off and worked through stage by stage over all resources, so that every resource
 * exists before the first disk is attached, and nobody connects before the disks are there. A command may also depend on another.
 */
import { isProgressShown } from './helper.js';
import type { Session } from './session.js';

/** The stages in working order, with the labels of adjust-with-progress. */
export const STAGES = [
  { name: 'prereq', label: 'create res' },
  { name: 'resource', label: 'adjust res' },
  { name: 'disk-prep-down', label: 'prepare disk' },
  { name: 'disk-prep-up', label: 'prepare disk' },
  { name: 'net-disconnect', label: 'prepare net' },
  { name: 'net-prep-down', label: 'prepare net' },
  { name: 'net-prep-up', label: 'prepare net' },
  { name: 'net-path', label: 'prepare net' },
  { name: 'net', label: 'adjust net' },
  { name: 'peer-device', label: 'adjust peer_devices' },
  { name: 'disk', label: 'adjust disk' },
  { name: 'net-connect', label: 'attempt to connect' },
  { name: 'wait-connect', label: 'wait for connect' },
] as const;

export type StageName = (typeof STAGES)[number]['name'];

/** Stages whose failure makes the rest of the resource pointless. */
const ESSENTIAL: ReadonlySet<StageName> = new Set(['prereq', 'disk-prep-down', 'disk-prep-up', 'net-prep-down', 'net-prep-up']);

export interface Deferred {
  readonly stage: StageName;
  /** Name of the command, for messages. */
  readonly name: string;
  readonly resource: string;
  readonly after: Deferred | undefined;
  readonly action: () => Promise<number>;
  state: 'waiting' | 'done' | 'cancelled';
}

const queues = new WeakMap<Session, Map<StageName, Deferred[]>>();
let serial = 0;
const marks = new WeakMap<Deferred, string>();

/** Stands for stock's pointers in the scheduling messages of -vv. */
function mark(command: Deferred): string {
  let text = marks.get(command);
  if (text === undefined) {
    text = `[0x${(++serial).toString(16).padStart(12, '0')}]`;
    marks.set(command, text);
  }
  return text;
}

export function schedule(
  session: Session,
  stage: StageName,
  name: string,
  resource: string,
  after: Deferred | undefined,
  action: () => Promise<number>,
): Deferred {
  const command: Deferred = { stage, name, resource, after, action, state: 'waiting' };
  putBack(session, [command]);
  const isTrial = session.command.action === 'sh-list-adjustable' && name !== '';
  if (session.settings.verbose >= 2 && !isTrial) {
    const depends = after === undefined ? '' : ` depending on ${after.name}(${after.resource})${mark(after)}`;
    session.io.stdout(`scheduling ${name}(${resource})${depends} as ${mark(command)}\n`);
  }
  return command;
}

/** Puts commands at the end of their stages. */
export function putBack(session: Session, commands: readonly Deferred[]): void {
  let queue = queues.get(session);
  if (queue === undefined) {
    queue = new Map(STAGES.map((s) => [s.name, []]));
    queues.set(session, queue);
  }
  for (const command of commands) queue.get(command.stage)!.push(command);
}

export function cancel(command: Deferred): void {
  command.state = 'cancelled';
}

/** Empties the queue without working it off. @returns what was in it */
export function takeQueue(session: Session): Deferred[] {
  const queue = queues.get(session);
  queues.delete(session);
  return queue === undefined ? [] : [...queue.values()].flat();
}

/** Works the queue off. @returns 1 when a command of it failed */
export async function runDeferred(session: Session): Promise<number> {
  const queue = queues.get(session);
  if (queue === undefined) return 0;
  queues.delete(session);
  const worker = new Worker(session, queue);
  const failed = await worker.run();
  return failed ? 1 : 0;
}

class Worker {
  readonly #session: Session;
  readonly #queue: ReadonlyMap<StageName, Deferred[]>;
  readonly #brokenResources = new Set<string>();
  readonly #withProgress: boolean;
  #failed = false;

  constructor(session: Session, queue: ReadonlyMap<StageName, Deferred[]>) {
    this.#session = session;
    this.#queue = queue;
    this.#withProgress = isProgressShown(session);
  }

  #print(text: string): void {
    if (this.#withProgress) this.#session.io.stdout(text);
  }

  async run(): Promise<boolean> {
    this.#print('[');
    for (let again = true; again; ) {
      again = false;
      let progress = false;
      for (const { name, label } of STAGES) {
        const commands = this.#queue.get(name)!;
        const ready = commands.filter((c) => c.state === 'waiting');
        if (ready.length === 0) continue;
        this.#print(`\n${label.padStart(15)}:`);
        const before = ready.length;
        await this.#stage(ready);
        const left = commands.filter((c) => c.state === 'waiting').length;
        progress ||= left < before;
        again ||= left > 0;
        if (this.#failed && !this.#withProgress) return true;
      }
      if (!progress) break;
    }
    this.#print('\n]\n');
    return this.#failed;
  }

  async #stage(commands: readonly Deferred[]): Promise<void> {
    let shownResource: string | undefined;
    for (const command of commands) {
      if (command.after !== undefined && command.after.state === 'waiting') continue;
      command.state = 'done';
      if (this.#brokenResources.has(command.resource)) {
        if (this.#withProgress) {
          if (command.resource !== shownResource) this.#print(` [skipped:${command.resource}]`);
          shownResource = command.resource;
        } else
          this.#session.io.stderr(`${this.#session.io.programName}: ${command.name} ${command.resource}: skipped due to earlier error\n`);
        continue;
      }
      if (command.resource !== shownResource) this.#print(` ${command.resource}`);
      shownResource = command.resource;
      const code = await command.action();
      if (code === 0) continue;
      this.#print(`:failed(${command.name}:${code})`);
      this.#failed = true;
      if (ESSENTIAL.has(command.stage)) this.#brokenResources.add(command.resource);
    }
  }
}
