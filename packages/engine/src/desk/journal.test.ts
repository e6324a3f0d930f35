import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import t from 'tap';
import { type Journal, JournalFile } from './journal.js';

const journal = (pid: number): Journal => ({ version: 1, pid, resources: [] });

t.test('the last one stands in the file; the same again is not written', async (t) => {
  const dir = mkdtempSync(`${tmpdir()}/udrbd-`);
  t.teardown(() => rmSync(dir, { recursive: true }));
  const path = `${dir}/journal.json`;
  const file = new JournalFile(path);
  const pid = () => (JSON.parse(readFileSync(path, 'utf8')) as Journal).pid;
  await Promise.all([1, 2, 3, 4].map((n) => file.write(journal(n))));
  t.equal(pid(), 4);
  const { ino } = statSync(path);
  await file.write(journal(4));
  t.equal(statSync(path).ino, ino);
  const first = file.write(journal(5));
  await Promise.all([first, file.write(journal(4))]);
  t.equal(pid(), 4, 'back to what it was while another is being written');

  mkdirSync(`${path}.new`);
  await t.rejects(file.write(journal(6)));
  t.equal(pid(), 4, 'the old one stays');
  rmSync(`${path}.new`, { recursive: true });
  await file.write(journal(6));
  t.equal(pid(), 6, 'a failure is not the end');
  await file.remove();
  t.notOk(existsSync(path));
  await file.write(journal(6));
  t.equal(pid(), 6);
});
