import t from 'tap';
import { createPalette } from './colors.js';
import { createEventPrinter, eventTimestamp } from './events.js';
import { readGolden, readVector, wordsOf } from './testing/golden.js';
import { parseNotifications } from './testing/state-file.js';

/** Stock reverses its lists of siblings again and again; nobody may rely on their order, so compare without it. */
const isWithManySiblings = (scenario: string): boolean => scenario === 'ev_multi';
const sorted = (text: string): string => text.split('\n').sort().join('\n');

for (const scenario of 'ev_none ev_exists ev_up ev_down ev_sync ev_lost ev_helper ev_rename ev_multi ev_delminor'.split(' ')) {
  t.test(`${scenario}: what stock prints`, async (t) => {
    const events = parseNotifications(readVector(`scenarios/${scenario}.state`));
    for (const { command, stdout } of readGolden(`v9.34/${scenario}.txt`)) {
      const words = wordsOf(command);
      if (words[0] !== 'events2') continue;
      const has = (word: string) => words.includes(word);
      const printer = createEventPrinter({
        statistics: has('--statistics') || has('--full'),
        full: has('--full'),
        diff: has('--diff'),
        palette: createPalette(has('--color=always')),
        resource: words.find((word, index) => index > 0 && !word.startsWith('-')),
      });
      const lines: string[] = [];
      for (const event of events) {
        lines.push(...printer.accept(event));
        if (has('--now') && event.kind === '-') break;
      }
      const text = lines.map((line) => `${line}\n`).join('');
      if (isWithManySiblings(scenario)) t.equal(sorted(text), sorted(stdout), command);
      else t.equal(text, stdout, command);
    }
  });
}

t.test('the state fetched once more shows as changes only', async (t) => {
  const events = parseNotifications(readVector('scenarios/ev_exists.state'));
  const style = { statistics: false, full: false, diff: false, palette: createPalette(false), resource: undefined };
  const printer = createEventPrinter(style);
  const first = events.flatMap((event) => printer.accept(event));
  printer.expectInitialState(false);
  t.strictSame(
    events.flatMap((event) => printer.accept(event)),
    [],
    'nothing differs',
  );
  printer.expectInitialState(true);
  t.strictSame(
    events.flatMap((event) => printer.accept(event)),
    first,
    'anew: all of it',
  );
});

t.test('timestamps', async (t) => {
  t.match(eventTimestamp(1_700_000_000_123.456), /^2023-11-1[45]T\d\d:\d\d:20\.123456[+-]\d\d:\d\d$/);
});
