/** A resync or verify as a person wants to see it: bar, percentage, rate, time left. */
import { type PeerDeviceStatistics, syncLeft } from '@udrbd/control';
import { syncProgress } from './sync-progress.js';

const BAR_MIN = 10;
const BAR_MAX = 40;
/** Percentage, rate and time take at most this. */
const FIGURES_WIDTH = 38;

/** `h:mm:ss` */
export function clock(seconds: number): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  return `${Math.floor(seconds / 3600)}:${two(Math.floor((seconds % 3600) / 60))}:${two(seconds % 60)}`;
}

/** @param part - 0 to 1 */
export function bar(part: number, width: number): string {
  const done = Math.min(width, Math.max(0, Math.floor(part * width)));
  return `[${'='.repeat(Math.max(0, done - 1))}${done > 0 ? '>' : ''}${'.'.repeat(width - done)}]`;
}

/**
 * `[=====>......]  45.2 %  120.30 MiB/s  0:01:22 left`
 * @param width - columns there are for it; the bar is left out where they are few
 * @returns undefined when nothing is running
 */
export function progressLine(statistics: PeerDeviceStatistics, width: number): string | undefined {
  const progress = syncProgress(statistics);
  const left = syncLeft(statistics);
  if (progress === undefined || left === undefined) return undefined;
  const part = Math.min(1, Math.max(0, (statistics.rsTotal - left) / statistics.rsTotal));
  // 100 % means that nothing is left.
  const percent = Math.min(part * 100, left > 0 ? 99.9 : 100)
    .toFixed(1)
    .padStart(5);
  const time = progress.secondsLeft === undefined ? '-:--:--' : clock(Number(progress.secondsLeft));
  const figures = `${percent} %  ${progress.rate1} MiB/s  ${time} left`;
  const room = width - FIGURES_WIDTH - 2;
  return room < BAR_MIN ? figures.trimStart() : `${bar(part, Math.min(BAR_MAX, room))} ${figures}`;
}
