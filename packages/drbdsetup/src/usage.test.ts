import t from 'tap';
import { findCommand } from './command-catalogue.js';
import { readGolden, wordsOf } from './testing/golden.js';
import { commandUsage, commandXml, generalUsage } from './usage.js';

t.test('help says what stock says', async (t) => {
  for (const { command, stdout } of readGolden('v9.34/help.txt')) {
    const name = wordsOf(command)[1];
    if (name === undefined) t.equal(generalUsage(80), stdout, command);
    else t.equal(commandUsage(findCommand(name)!, 80), stdout, command);
  }
});

t.test('xml-help says what stock says', async (t) => {
  for (const { command, stdout } of readGolden('v9.34/xml-help.txt')) {
    t.equal(commandXml(findCommand(wordsOf(command)[1]!)!), stdout, command);
  }
});
