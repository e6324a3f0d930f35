import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import t from 'tap';
import {
  bootId,
  isSealed,
  JOURNAL_VERSION,
  type Journal,
  JournalFile,
  NewerJournal,
  OLDEST_JOURNAL_VERSION,
  readJournal,
} from './journal.js';

const journal = (pid: number): Journal => ({ version: JOURNAL_VERSION, bootId: bootId(), pid, resources: [] });

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

t.test('one that could not be written is, as soon as it can be', async (t) => {
  const path = `${t.testdir()}/journal.json`;
  mkdirSync(`${path}.new`, { recursive: true });
  // The timer alone keeps no process alive.
  const alive = setInterval(() => undefined, 1000);
  t.teardown(() => clearInterval(alive));
  const recovered = new Promise<void>((resolve) => {
    const file = new JournalFile(path, resolve);
    void t.rejects(file.write(journal(1))).then(() => rmSync(`${path}.new`, { recursive: true }));
  });
  await recovered;
  t.equal((JSON.parse(readFileSync(path, 'utf8')) as Journal).pid, 1);
});

t.test('what the next engine makes of it', async (t) => {
  const path = `${t.testdir()}/journal.json`;
  const said: string[] = [];
  const read = () => readJournal(path, (level, text) => void said.push(`${level} ${text}`));
  const left = (text: string) => writeFileSync(path, text, { mode: 0o644 });
  t.equal(read(), undefined, 'none');

  left('{"version": 1}');
  await new JournalFile(path).write(journal(7));
  t.equal(statSync(path).mode & 0o777, 0o600, 'root only, whatever stood there');
  const own = read()!;
  t.match(own, journal(7));
  t.ok(isSealed(own), 'nobody has edited it');
  t.notOk(isSealed({ ...own, pid: 8 }));
  t.notOk(isSealed(journal(7)), 'as older engines wrote it');
  left(JSON.stringify({ ...journal(7), bootId: 'another' }));
  t.equal(read(), undefined, 'from before a reboot');
  const r0 = { name: 'r0', nodeId: 0, drbd8Compat: false, options: {}, volumes: [], connections: [], primary: true, ioSuspended: false };
  left(JSON.stringify({ ...journal(7), version: OLDEST_JOURNAL_VERSION, resources: [r0] }));
  t.strictSame(read()?.resources, [{ ...r0, failIo: false }], 'of an engine that did not remember forced demotions');
  left('{"version": 1, "resources": []}');
  t.equal(read(), undefined, 'the version that nobody reads');

  left(JSON.stringify({ ...journal(7), version: JOURNAL_VERSION + 1, resources: 'in another form' }));
  t.throws(read, NewerJournal);
  t.ok(existsSync(path), 'and it stays');
  t.strictSame(said, []);

  const withResources = (resources: unknown): string => JSON.stringify({ ...journal(7), resources });
  const forms = [withResources([null]), withResources([{ name: 'r0' }]), withResources([r0]), withResources({})];
  for (const damaged of ['', '{"version": 2, "resour', '[]', `{"version": ${JOURNAL_VERSION}}`, ...forms]) {
    left(damaged);
    t.equal(read(), undefined);
    t.notOk(existsSync(path));
    t.equal(readFileSync(`${path}.damaged`, 'utf8'), damaged, 'set aside');
    t.match(said.pop(), /^err journal: .* is damaged/);
  }
});
