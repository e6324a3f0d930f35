import fc from 'fast-check';
import t from 'tap';
import { dumpCommon, dumpGlobal, dumpResource, quote } from './dump.js';
import { parse } from './grammar.js';
import { scan } from './lexer.js';
import { loadText } from './testing/memory-source.js';
import { mutate, randomConfig } from './testing/random-config.js';

/** The configuration as text again, or undefined when it is refused. */
function dump(text: string): string | undefined {
  const { loaded } = loadText(text, false);
  if (!loaded.ok || !loaded.config.valid) return undefined;
  const style = { nodeName: 'alpha', verbose: false };
  const { config } = loaded;
  const parts = [dumpGlobal(config, style)];
  if (config.common !== undefined) parts.push(dumpCommon(config.common));
  for (const res of config.resources) parts.push(dumpResource(res, style));
  return parts.join('');
}

/** The comments say where a resource was defined, which a dump changes. */
const withoutComments = (text: string): string => text.replace(/^# .*\n/gm, '');

t.test('a dump read again dumps the same', async (t) => {
  let dumped = 0;
  fc.assert(
    fc.property(fc.nat(1_000_000), (seed) => {
      const once = dump(randomConfig(seed));
      // Stock shows a volume of a connection without options as an empty section, which it does not read.
      if (once === undefined || /volume [0-9]+ \{\n *\}/.test(once)) return true;
      dumped++;
      const twice = dump(once);
      return twice !== undefined && withoutComments(twice) === withoutComments(once);
    }),
    { numRuns: 150 },
  );
  t.ok(dumped > 80, `${dumped} configurations were valid`);
});

t.test('no text makes the parser throw or loop', async () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 300 }), (text) => {
      parse(text);
      parse(text, 'show');
      parse(text, 'template');
      return scan(text).endLine >= 1;
    }),
    { numRuns: 300 },
  );
  fc.assert(
    fc.property(fc.nat(1_000_000), (seed) => {
      loadText(mutate(randomConfig(seed), seed));
      return true;
    }),
    { numRuns: 300 },
  );
});

t.test('a quoted text is one token that stands for the text', async () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 100 }), (text) => {
      if (text.includes('\n')) return true;
      const { tokens } = scan(`${quote(text)};`);
      return tokens.length === 2 && tokens[0]!.image === text;
    }),
    { numRuns: 500 },
  );
});
