/** `drbdadm dump` of 1,000 resources in as many files, ours against the distribution's: time and peak memory. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { unpackedPackage } from '../../conformance/vm/packages.js';
import { median, type Table } from './table.js';

const RESOURCES = 1000;
const RUNS = Number(process.env.BENCH_RUNS ?? 11);

/** Runs a command and prints wall-clock and processor seconds and the most memory it had, in KiB; its output goes to a file. */
const MEASURE = `
import resource, subprocess, sys, time
began = time.monotonic()
status = subprocess.call(sys.argv[2:], stdout=open(sys.argv[1], 'wb'), stderr=subprocess.DEVNULL)
took = time.monotonic() - began
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(status, took, used.ru_utime + used.ru_stime, used.ru_maxrss)
`;

interface Run {
  readonly seconds: number;
  readonly processor: number;
  readonly kib: number;
}

const resourceText = (i: number): string => `resource r${i} {
  options { quorum majority; on-no-quorum io-error; }
  net { cram-hmac-alg sha1; shared-secret "secret${i}"; verify-alg crc32c; }
  disk { on-io-error detach; c-max-rate 100M; }
  volume 0 { device minor ${i}; disk /dev/vg/r${i}; meta-disk internal; }
  on alpha { node-id 0; address 10.0.0.1:${7000 + i}; }
  on bravo { node-id 1; address 10.0.0.2:${7000 + i}; }
  on charlie { node-id 2; address 10.0.0.3:${7000 + i}; }
  connection-mesh { hosts alpha bravo charlie; }
}
`;

function measure(folder: string, output: string, argv: readonly string[]): Run {
  const env = { ...process.env, __DRBD_NODE__: 'alpha', DRBD_DRIVER_VERSION_OVERRIDE: '9.0.0' };
  const { stdout, stderr } = spawnSync('python3', ['-c', MEASURE, output, ...argv], { cwd: folder, env, encoding: 'utf8' });
  const [status, seconds, processor, kib] = stdout.trim().split(' ').map(Number) as [number, number, number, number];
  if (status !== 0) throw new Error(`${argv.join(' ')}: exit status ${status}\n${stderr}`);
  return { seconds, processor, kib };
}

export async function configuration(): Promise<Table> {
  const folder = mkdtempSync(join(tmpdir(), 'udrbd-bench.'));
  try {
    mkdirSync(join(folder, 'drbd.d'));
    writeFileSync(
      join(folder, 'drbd.conf'),
      'global { disable-ip-verification; }\ncommon { net { protocol C; } }\ninclude "drbd.d/*.res";\n',
    );
    for (let i = 0; i < RESOURCES; i++) writeFileSync(join(folder, `drbd.d/r${String(i).padStart(4, '0')}.res`), resourceText(i));
    const dump = ['-c', 'drbd.conf', 'dump'];
    const subjects = [
      { name: 'stock drbdadm 9.22.0', argv: [join(unpackedPackage('bookworm', 'drbd-utils'), 'sbin/drbdadm'), ...dump] },
      { name: 'drbdadm', argv: [process.execPath, resolve('packages/drbdadm/bin/drbdadm.js'), ...dump] },
    ];
    const runs = subjects.map((): Run[] => []);
    for (let round = 0; round < RUNS; round++)
      for (const [i, { argv }] of subjects.entries()) runs[i]!.push(measure(folder, join(folder, `out${i}`), argv));
    return {
      title: `\`drbdadm dump\` of ${RESOURCES.toLocaleString('en-US')} resources in as many files`,
      head: ['program', 's', 'least', 'processor s', 'peak MiB'],
      rows: subjects.map(({ name }, i) => [
        name,
        median(runs[i]!.map((r) => r.seconds)).toFixed(2),
        Math.min(...runs[i]!.map((r) => r.seconds)).toFixed(2),
        median(runs[i]!.map((r) => r.processor)).toFixed(2),
        (Math.max(...runs[i]!.map((r) => r.kib)) / 1024).toFixed(0),
      ]),
      notes: [`median of ${RUNS} runs each, interleaved`],
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
