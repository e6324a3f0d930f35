/**
 * The printer behind `events2`: notifications in, lines out.
 *
 * What arrives between the beginning of the initial state and its end is printed after `exists -`, so a reader never sees a
 * change before it and nothing that merely exists after it.
 */
import type { Notification } from '@udrbd/control';
import { batchLines, type EventStyle, helperLine, renameLine } from './event-lines.js';
import { applyNotification, type EventTree } from './event-tree.js';

export interface EventPrinterOptions extends EventStyle {
  /** Only this resource; undefined for all. */
  readonly resource: string | undefined;
}

export interface EventPrinter {
  /** @returns lines without line breaks; empty while a batch is incomplete */
  accept(event: Notification): string[];
  /** Expects the initial state once more, to be printed in full (`anew`) or as changes. */
  expectInitialState(anew: boolean): void;
}

export function createEventPrinter(options: EventPrinterOptions): EventPrinter {
  let { resource: wanted } = options;
  const tree: EventTree = new Map();
  let isInitial = true;
  /** The initial state is fetched for comparison only: no second `exists -`. */
  let isQuiet = false;

  const accept = (event: Notification): string[] => {
    if (event.kind === '-') {
      isInitial = false;
      const lines = isQuiet ? [] : ['exists -'];
      isQuiet = false;
      return lines;
    }
    if (wanted !== undefined && event.resource !== wanted) return [];
    if (event.kind === 'helper') return [helperLine(event)];
    if (event.action === 'rename') {
      const node = tree.get(event.resource);
      if (node === undefined) return [];
      tree.delete(event.resource);
      node.name = event.newName;
      tree.set(event.newName, node);
      if (wanted !== undefined) wanted = event.newName;
      return [renameLine(event)];
    }
    const node = applyNotification(tree, event);
    if (node === undefined || event.continues) return [];
    const lines = batchLines(node, options);
    if (node.isGone) tree.delete(node.name);
    return isQuiet ? lines.map((line) => line.replace(/^exists /, 'create ')) : lines;
  };

  return {
    accept,
    expectInitialState(anew) {
      isQuiet = !anew && !isInitial;
      if (anew) {
        tree.clear();
        isInitial = true;
      }
    },
  };
}

/** `2026-11-22T07:40:00.123456+01:00`, local time. */
export function eventTimestamp(epochMs: number): string {
  const time = new Date(epochMs);
  const two = (n: number) => String(n).padStart(2, '0');
  const date = `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`;
  const micros = String(Math.floor((epochMs - Math.floor(epochMs / 1000) * 1000) * 1000)).padStart(6, '0');
  const offset = -time.getTimezoneOffset();
  const sign = offset < 0 ? '-' : '+';
  return `${date}T${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}.${micros}${sign}${two(Math.floor(Math.abs(offset) / 60))}:${two(Math.abs(offset) % 60)}`;
}
