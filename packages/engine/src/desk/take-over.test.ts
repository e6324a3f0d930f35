import { type Request, succeed } from '@udrbd/control';
import t from 'tap';
import { bootId, JOURNAL_VERSION, type Journal, type JournalResource } from './journal.js';
import { ResourceEntry } from './resource-entry.js';
import { type TakeOverDesk, takeOver } from './take-over.js';

const resource = (given: Partial<JournalResource>): JournalResource => ({
  name: 'r0',
  nodeId: 0,
  drbd8Compat: false,
  options: {},
  volumes: [{ volume: 0, minor: 3, options: {}, disk: null }],
  connections: [],
  primary: false,
  ioSuspended: false,
  failIo: false,
  ...given,
});

/** What the desk was asked for, in order. */
async function steps(given: Partial<JournalResource>): Promise<string[]> {
  const said: string[] = [];
  let entry: ResourceEntry | undefined;
  const desk: TakeOverDesk = {
    log: (level, text) => void said.push(`${level} ${text}`),
    operate: async (request: Request) => {
      said.push(request.command);
      if (request.command === 'new-resource') entry = new ResourceEntry(request.resource, 0, false, 0, {});
      return succeed([]);
    },
    find: () => entry,
    failIo: async () => said.push('I/O fails'),
    release: () => void said.push('served'),
    abandon: async () => void said.push('abandoned'),
  };
  const journal: Journal = { version: JOURNAL_VERSION, bootId: bootId(), pid: 1, resources: [resource(given)] };
  await takeOver(desk, journal, true);
  return said;
}

t.test('what somebody has written into the journal is judged like a request of the control socket', async (t) => {
  const said = await steps({ nodeId: 77 });
  t.match(said[0], /^err drbd r0: taking over: new-resource: ERR_INVALID_REQUEST: /);
  t.notOk(said.includes('new-resource') || said.includes('served'));
});

t.test('a Primary is one before its devices are served', async (t) => {
  t.strictSame(await steps({ primary: true }), ['new-resource', 'new-minor', 'primary', 'served']);
  t.strictSame(await steps({}), ['new-resource', 'new-minor', 'served']);
});

t.test('what was cut off by a forced demotion is so before anything is served', async (t) => {
  const cutOff = ['new-resource', 'new-minor', 'I/O fails', 'served'];
  t.strictSame(await steps({ failIo: true }), cutOff);
  t.strictSame(await steps({ failIo: true, primary: true }), cutOff, 'also when the demotion had only begun');
});
