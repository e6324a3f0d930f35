// Counts the assertions of a TAP file, as tap's own reporters count them, and prints what failed.
// usage: node scripts/tap-summary.mjs FILE      stdout: "PASSED FAILED SKIPPED", stderr: the failures with their diagnostics
import { readFileSync } from 'node:fs';

const LINE = /^( *)(?:(not )?ok \d+(?: - (.*?))?|# Subtest: (.*))$/;
const DIRECTIVE = / # (SKIP|TODO|time=).*$/i;

/** Open subtests by depth. One that fails without a failing assertion inside (crash, time-out, wrong plan) counts as one failure. */
const open = [];
const count = { passed: 0, failed: 0, skipped: 0 };
/** Of one failure; that of a time-out lists every open handle. */
const DIAGNOSTIC_LINES_MAX = 30;
let diagnosticsLeft = 0;
let inDiagnostics = false;

const fail = (depth, name) => {
  count.failed++;
  for (let above = 0; above < depth; above++) if (open[above]) open[above].failed = true;
  const path = open.slice(0, depth).map((test) => test?.name);
  process.stderr.write(`\nFAILED ${[...path, name].filter(Boolean).join(' > ')}\n`);
};

for (const line of readFileSync(process.argv[2], 'utf8').split('\n')) {
  if (inDiagnostics) {
    if (/^ *\.\.\.$/.test(line)) inDiagnostics = false;
    else if (diagnosticsLeft-- > 0) process.stderr.write(`  ${line.trimEnd()}\n`);
    continue;
  }
  if (/^ *---$/.test(line)) {
    inDiagnostics = true;
    continue;
  }
  const match = LINE.exec(line);
  if (!match) continue;
  const [, indent, notOk, rest = '', subtest] = match;
  const depth = indent.length / 4;
  if (!Number.isInteger(depth)) continue;
  if (subtest !== undefined) {
    open.length = depth;
    open[depth] = { name: subtest, failed: false };
    continue;
  }
  const directive = DIRECTIVE.exec(rest)?.[1];
  const name = rest.replace(DIRECTIVE, '');
  const closed = open[depth]?.name === name ? open[depth] : undefined;
  diagnosticsLeft = 0;
  // A file whose imports fail has "no tests found", which tap takes for a skipped one.
  if (depth === 0 && rest.endsWith('no tests found')) fail(depth, rest);
  else if (/skip|todo/i.test(directive ?? '')) count.skipped++;
  else if (closed === undefined && !notOk) count.passed++;
  else if (notOk && !closed?.failed) {
    fail(depth, name);
    diagnosticsLeft = DIAGNOSTIC_LINES_MAX;
  }
  open.length = Math.min(open.length, depth);
}
process.stdout.write(`${count.passed} ${count.failed} ${count.skipped}\n`);
