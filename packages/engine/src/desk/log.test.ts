import { spawnSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import t from 'tap';
import { lineAppender, openLog } from './log.js';

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

t.test('what a full disk has swallowed is counted once there is room again', async (t) => {
  let room = 20;
  let file = '';
  const append = lineAppender((bytes) => {
    if (room === 0) throw Object.assign(new Error('write'), { code: 'ENOSPC' });
    const taken = Math.min(room, bytes.length);
    room -= taken;
    file += Buffer.from(bytes).toString('utf8', 0, taken);
    return taken;
  });
  append('the first\n');
  append('the second, torn\n');
  append('the third\n');
  append('the fourth\n');
  t.equal(file, 'the first\nthe second');
  room = 10;
  append('the fifth\n');
  // Not even the number of lines found room: it is told with the next one.
  room = 1000;
  append('the sixth\n');
  append('the seventh\n');
  const lines = file.split('\n');
  t.equal(lines[1], 'the second', 'the torn line has an end of its own');
  t.match(lines.at(-4), /^\S+Z warning: 4 lines are missing here: they could not be written$/);
  t.strictSame(lines.slice(-3), ['the sixth', 'the seventh', '']);
  t.equal(lines.length, 7, 'and what was left of the number that did not fit');
});

t.test('a process that may write no more goes on', async (t) => {
  const path = `${t.testdir({})}/engine.log`;
  // A limit of the size of files is the full disk that needs no rights: the writes fail with EFBIG, and go on once it is raised.
  const script = `
    import { openLog } from ${JSON.stringify(new URL('./log.ts', import.meta.url).href)};
    import { execFileSync } from 'node:child_process';
    const log = openLog(process.argv[1]);
    const limit = (bytes) => execFileSync('prlimit', ['--pid', String(process.pid), '--fsize=' + bytes + ':']);
    log('info', 'one');
    limit(60);
    for (const text of ['two', 'three', 'four']) log('info', text);
    limit('unlimited');
    log('info', 'five');
  `;
  const child = spawnSync(process.execPath, [...process.execArgv, '--input-type=module', '--eval', script, path], { encoding: 'utf8' });
  t.equal(child.status, 0, child.stderr);
  const text = readFileSync(path, 'utf8');
  t.match(text, /^\S+Z info: one\n/);
  t.match(text, /\n\S+Z warning: [23] lines are missing here: they could not be written\n\S+Z info: five\n$/);
});
