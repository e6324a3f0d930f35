import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { runDrbdadm } from './testing/stub-io.js';

const CONFIG = `global { usage-count no; disable-ip-verification; cmd-timeout-short 1; }
resource r0 {
  volume 0 { device minor 0; disk /dev/a; }
  volume 1 { device minor 1; disk /dev/b; }
  on alpha { node-id 0; address 10.0.0.1:7788; }
  on bravo { node-id 1; address 10.0.0.2:7788; }
}
resource r1 {
  device minor 2; disk /dev/c; meta-disk internal;
  on alpha { node-id 0; address 10.0.0.1:7789; }
  on bravo { node-id 1; address 10.0.0.2:7789; }
}
`;

t.test('up runs the stages over all resources in process', async (t) => {
  const { code, calls, stderr } = await runDrbdadm(CONFIG, ['up', 'all']);
  t.equal(code, 0);
  t.equal(stderr, '');
  t.strictSame(calls, [
    'drbdsetup new-resource r0 0',
    'drbdsetup new-resource r1 0',
    'drbdsetup new-minor r0 0 0',
    'drbdsetup new-minor r0 1 1',
    'drbdsetup new-minor r1 2 0',
    'drbdsetup new-peer r0 1 --_name=bravo',
    'drbdsetup new-peer r1 1 --_name=bravo',
    'drbdsetup new-path r0 1 ipv4:10.0.0.1:7788 ipv4:10.0.0.2:7788',
    'drbdsetup new-path r1 1 ipv4:10.0.0.1:7789 ipv4:10.0.0.2:7789',
    'drbdmeta 0 v09 /dev/a internal repair-md',
    'drbdmeta 0 v09 /dev/a internal apply-al',
    'drbdsetup attach 0 /dev/a /dev/a internal',
    'drbdmeta 1 v09 /dev/b internal repair-md',
    'drbdmeta 1 v09 /dev/b internal apply-al',
    'drbdsetup attach 1 /dev/b /dev/b internal',
    'drbdmeta 2 v09 /dev/c internal repair-md',
    'drbdmeta 2 v09 /dev/c internal apply-al',
    'drbdsetup attach 2 /dev/c /dev/c internal',
    'drbdsetup connect r0 1',
    'drbdsetup connect r1 1',
  ]);
});

t.test('a failure in a stage ends the run behind it', async (t) => {
  const tool = (line: string) => (line.includes('new-minor r0 0') ? 10 : 0);
  const { code, calls, stderr } = await runDrbdadm(CONFIG, ['up', 'all'], { tool });
  t.equal(code, 1);
  t.equal(calls.at(-1), 'drbdsetup new-minor r1 2 0');
  t.match(stderr, /Command 'drbdsetup new-minor r0 0 0' terminated with exit code 10/);
  t.match(stderr, /drbdadm: new-minor r0: skipped due to earlier error/);
});

t.test('create-md gives the device a UUID unless it has one', async (t) => {
  const { code, calls } = await runDrbdadm(CONFIG, ['create-md', 'r1']);
  t.equal(code, 0);
  t.strictSame(calls, [
    'drbdmeta 2 v09 /dev/c internal create-md 1',
    'drbdmeta 2 v09 /dev/c internal read-dev-uuid',
    'drbdmeta 2 v09 /dev/c internal write-dev-uuid 0123456789ABCDEF',
  ]);
  const named = await runDrbdadm(CONFIG, ['create-md', '--max-peers=7', 'r1'], {
    tool: (line, io) => {
      if (line.includes('read-dev-uuid')) io.stdout('FEDCBA9876543210\n');
      return 0;
    },
  });
  t.strictSame(named.calls, ['drbdmeta 2 v09 /dev/c internal create-md 7', 'drbdmeta 2 v09 /dev/c internal read-dev-uuid']);
});

t.test('adjust compares with what drbdsetup show prints', async (t) => {
  const shown = `resource "r1" {
    _this_host {
        node-id\t\t\t0;
        volume 0 {
            device\t\t\tminor 2;
            disk\t\t\t"/dev/c";
            meta-disk\t\t\tinternal;
        }
    }
    connection {
        _peer_node_id 1;
        path {
            _this_host ipv4 10.0.0.1:7789;
            _remote_host ipv4 10.0.0.2:7789;
        }
        _cstate Connected;
        net {
            _name           \t"bravo";
        }
    }
}
`;
  const tool = (line: string, io: { stdout(text: string): void }) => {
    if (line.startsWith('drbdsetup show')) io.stdout(shown);
    return 0;
  };
  const same = await runDrbdadm(CONFIG, ['adjust', 'r1'], { tool });
  t.strictSame([same.code, same.calls], [0, ['drbdsetup show r1']]);
  const other = await runDrbdadm(CONFIG.replace('meta-disk internal;', 'meta-disk internal; net { protocol A; }'), ['adjust', 'r1'], {
    tool,
  });
  t.strictSame(other.calls.slice(1), ['drbdsetup net-options r1 1 --set-defaults --_name=bravo --protocol=A']);
});

t.test('the stages of dstate: the engine, else the meta-data', async (t) => {
  const codes: Record<string, number> = { 'drbdsetup dstate 2': 10 };
  const asked = await runDrbdadm(CONFIG, ['dstate', 'r1'], {
    tool: (line, io) => {
      if (line.startsWith('drbdsetup')) io.stderr('2: No such minor\n');
      return codes[line] ?? 0;
    },
  });
  t.strictSame(asked.calls, ['drbdsetup dstate 2', 'drbdmeta 2 v09 /dev/c internal dstate']);
  t.equal(asked.stderr, '', 'the complaint of the engine is not the answer');
});

t.test('the promotion of older guides forces', async (t) => {
  const { calls } = await runDrbdadm(CONFIG, ['--', '--overwrite-data-of-peer', 'primary', 'r0']);
  t.strictSame(calls, ['drbdsetup primary r0 --force']);
});

t.test('a short command has a time limit', async (t) => {
  const hanging = await runDrbdadm(CONFIG, ['cstate', 'r0'], { tool: () => new Promise(() => {}) as unknown as number });
  t.equal(hanging.code, 20);
  t.equal(hanging.stderr, "Command 'drbdsetup cstate r0 1' did not terminate within 1 seconds\n");

  const starting = await runDrbdadm(CONFIG, ['cstate', 'r0'], {
    tool: (_line, io) => {
      const engine = new Promise((resolve) => setTimeout(resolve, 1200));
      io.engineStarts?.(engine);
      return engine.then(() => 0) as unknown as number;
    },
  });
  t.strictSame([starting.code, starting.stderr], [0, ''], 'in which the start of the engine does not count');
});

t.test('wrong arguments are refused before anything is done', async (t) => {
  for (const [words, code, message] of [
    [['primary', 'r9'], 1, "'r9' not defined in your config (for this host).\n"],
    [['primary', 'r0/0'], 1, 'primary operates on whole resources, but you specified a specific volume!\n'],
    [['attach', 'r0/7'], 1, "Resource 'r0' has no volume 7\n'r0/7' unexpected ctx_by_* result r=-2\n"],
    [['attach', 'r0/x'], 20, 'x is not a valid number\n'],
    [['frob', 'r0'], 1, "drbdadm: Unknown command 'frob'\n"],
    [['up', '--force', 'r0'], 1, "drbdadm: unrecognized option '--force'\ntry 'drbdadm help up'\n"],
  ] as const) {
    const ran = await runDrbdadm(CONFIG, words);
    t.strictSame([ran.code, ran.stderr, ran.calls], [code, message, []], words.join(' '));
  }
});

t.test('somebody who pretends a module of 8.4 gets the tool of 8.4', async (t) => {
  const version = { DRBD_DRIVER_VERSION_OVERRIDE: '8.4.11' };
  const nowhere = await runDrbdadm(CONFIG, ['up', 'r0'], { env: { ...version, PATH: t.testdir({}) } });
  t.strictSame([nowhere.code, nowhere.stderr, nowhere.calls], [20, 'execvp() failed to exec drbdadm-84: No such file or directory\n', []]);

  const directory = t.testdir({ 'drbdadm-84': '#!/bin/sh\n[ "$DRBD_DONT_WARN_ON_VERSION_MISMATCH$*" = "1-c - up r0" ] && exit 17\n' });
  chmodSync(join(directory, 'drbdadm-84'), 0o755);
  const { code, calls } = await runDrbdadm(CONFIG, ['up', 'r0'], { env: { ...version, PATH: directory } });
  t.strictSame([code, calls], [17, []]);
});

t.test('the version of the module is the engine’s, or the pretended one', async (t) => {
  for (const [override, shown] of [
    ['9.1.4', '9.1.4'],
    ['9.1', '9.2.14'],
    [' 9..7-rc1', '9.0.7'],
    ['0.0.0', '9.2.14'],
  ] as const) {
    const { stdout } = await runDrbdadm(CONFIG, ['--version'], { env: { DRBD_DRIVER_VERSION_OVERRIDE: override } });
    t.match(stdout, `\nDRBD_KERNEL_VERSION=${shown}\n`, override);
  }
});
