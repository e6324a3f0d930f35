/** What somebody at a terminal is told beyond stock's messages: the place, and what may have been meant. Scripts never see it. */
import { nearest, type Place } from '@udrbd/config';
import { COMMANDS } from './commands.js';

const MARGIN = 4;
const didYouMean = (word: string): string => `did you mean '${word}'?`;

/** The line with a mark under the word; of a long line the part around it. */
export function pointAt({ text, column, length, suggestion }: Place, columns = 80): string {
  const room = Math.max(columns - MARGIN - 1, 20);
  const from = column > room - 10 ? column - Math.floor(room / 2) : 0;
  const shown = text.slice(from, from + room);
  const quoted = `${' '.repeat(MARGIN)}${shown}\n`;
  if (column === 0) return quoted;
  // Tabs stay tabs, so that the mark stands where the terminal puts the word.
  const before = shown.slice(0, column - 1 - from).replace(/[^\t]/g, ' ');
  const mark = '^'.repeat(Math.max(1, Math.min(length, room - before.length)));
  return `${quoted}${' '.repeat(MARGIN)}${before}${mark}${suggestion === undefined ? '' : ` ${didYouMean(suggestion)}`}\n`;
}

/** @returns nothing when no command is near */
export function suggestCommand(word: string): string {
  const names = COMMANDS.filter((c) => c.level <= 2).map((c) => c.name);
  const near = nearest(word, names);
  return near === undefined ? '' : `${didYouMean(near)}\n`;
}
