import { readFileSync, statSync } from 'node:fs';
import t from 'tap';
import { openLog } from './log.js';

t.test('a line for each line, with time and severity, for root only', async (t) => {
  const path = `${t.testdir({})}/engine.log`;
  const log = openLog(path);
  log('warning', 'one\ntwo\n');
  openLog(path)('info', 'three');
  t.match(readFileSync(path, 'utf8'), /^\S+Z warning: one\n\S+Z warning: two\n\S+Z info: three\n$/);
  t.equal(statSync(path).mode & 0o777, 0o600);
});

t.test('a full disk is survived', async (t) => {
  const log = openLog('/dev/full');
  t.doesNotThrow(() => log('err', 'nobody will read this'));
});
