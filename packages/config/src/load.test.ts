import t from 'tap';
import { loadFiles, loadText } from './testing/memory-source.js';

const HOSTS = `on alpha { node-id 0; address 10.0.0.1:7788; }
on bravo { node-id 1; address 10.0.0.2:7788; }`;
const VOLUME = 'device minor 1; disk /dev/a; meta-disk internal;';

t.test('a resource with two hosts gets its connection, endpoints and peer devices', async (t) => {
  const { loaded, messages } = loadText(`resource r0 { ${VOLUME} ${HOSTS} net { protocol A; } }`);
  t.equal(messages, '');
  if (!loaded.ok) return t.fail('refused');
  const [res] = loaded.config.resources;
  t.equal(res!.me?.names[0], 'alpha');
  const [connection] = res!.connections;
  t.equal(connection!.peer?.names[0], 'bravo');
  t.equal(connection!.net[0]?.value, 'A', 'options of the resource reach the connection');
  t.equal(connection!.paths[0]?.connectTo?.address, '10.0.0.2');
  t.equal(connection!.peerDevices[0]?.vnr, 0);
  t.equal(res!.me?.volumes[0]?.device, '/dev/drbd1');
});

t.test('refusals come with file, line and exit code', async (t) => {
  const cases: [string, number, string][] = [
    ['resource r0 {\n foo bar; }', 10, "drbd.conf:2: Parse error: 'protocol | on | disk | net | syncer | startup | handlers | connection"],
    [`resource r0 {\n ${VOLUME}\n on alpha { address 10.0.0.1:1;`, 10, "drbd.conf:3: Parse error: 'disk | device | address"],
    [`resource r0 { net { timeout 0; } }`, 10, "drbd.conf:1: Parse error: while parsing value ('0')\nfor timeout. Value is too small."],
    ['resource "" { }', 1, 'Resource name is empty.'],
    [
      `resource r0 {\nvolume 0 { device minor 1; disk /dev/a; }\nvolume 1 { device minor 1; disk /dev/b; }\n${HOSTS} }`,
      10,
      "drbd.conf:3: conflicting use of device-minor 'device-minor:alpha:1' ...\ndrbd.conf:2: device-minor 'device-minor:alpha:1' first used here.",
    ],
  ];
  for (const [text, exitCode, message] of cases) {
    const { loaded, messages } = loadText(text);
    t.equal(loaded.ok, false);
    if (!loaded.ok) t.equal(loaded.exitCode, exitCode);
    t.ok(messages.startsWith(message), messages);
  }
});

t.test('what can be found later than the text marks the configuration invalid', async (t) => {
  const { loaded, messages } = loadText(`resource r0 { disk /dev/a; ${HOSTS} }`);
  t.ok(loaded.ok && !loaded.config.valid);
  t.match(messages, /in resource r0, on alpha \{ \.\.\. \}: 'device' keyword missing\./);
});

t.test('include reads each file once, sorted, relative to its own place', async (t) => {
  const files = {
    '/etc/drbd.conf': 'include "drbd.d/*.res"; include "drbd.d/b.res"; include "drbd.conf";',
    '/etc/drbd.d/b.res': `resource b { device minor 2; disk /dev/b; ${HOSTS.replaceAll('7788', '7789')} }`,
    '/etc/drbd.d/a.res': `include "more/x.inc";\nresource a { ${VOLUME} ${HOSTS} }`,
    '/etc/drbd.d/more/x.inc': 'common { net { protocol B; } }',
  };
  const { loaded, messages } = loadFiles(files);
  t.equal(messages, '');
  if (!loaded.ok) return t.fail('refused');
  t.strictSame(
    loaded.config.resources.map((r) => `${r.name} ${r.file}:${r.line}`),
    ['a /etc/drbd.d/a.res:2', 'b /etc/drbd.d/b.res:1'],
  );
  t.match(loadFiles({ '/etc/drbd.conf': 'include "nope";' }).messages, /^\/etc\/drbd\.conf:1: Failed to open include file 'nope'\.\n$/);
});

t.test('inheritance refuses to choose between two inherited values', async (t) => {
  const { messages } = loadText(
    `resource r0 { disk { c-max-rate 1M; } ${VOLUME} ${HOSTS} connection { host alpha; host bravo; disk { c-max-rate 2M; } } }`,
  );
  t.match(messages, /ambiguous inheritance for option "c-max-rate"\.\nshould be "2M" and "1M" at the same time\.\n/);
});
