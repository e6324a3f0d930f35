// Turns the TAP lines that a script printed in the guest (guest/checks.sh) into assertions of the test on the host.
import type { Test } from 'tap';
import type { VmResult } from './machine.js';

export interface GuestCheck {
  readonly name: string;
  readonly ok: boolean;
  /** Reason for which it was skipped. */
  readonly skip: string | undefined;
  /** What it printed, when it failed; else how long it took. */
  readonly detail: string;
}

/** The checks in order, and whether the script came to its plan. */
export function parseChecks(output: string): { readonly checks: readonly GuestCheck[]; readonly complete: boolean } {
  const checks: { name: string; ok: boolean; skip: string | undefined; detail: string }[] = [];
  let planned = -1;
  for (const line of output.split('\n')) {
    const [, not, name, skip] = /^(not )?ok \d+ - (.*?)(?: # SKIP (.*))?$/.exec(line) ?? [];
    if (name !== undefined) checks.push({ name, ok: not === undefined, skip, detail: '' });
    else if (line.startsWith('# ') && checks.length > 0) checks.at(-1)!.detail += `${line.slice(2)}\n`;
    else if (/^1\.\.\d+$/.test(line)) planned = Number(line.slice(3));
  }
  return { checks, complete: planned === checks.length };
}

/** Asserts every check, that the script came to its end, and that the kernel had nothing to complain about. */
export function assertChecks(t: Test, result: VmResult): void {
  const { checks, complete } = parseChecks(result.output);
  for (const { name, ok, skip, detail } of checks) {
    if (skip !== undefined) t.pass(name, { skip });
    else t.ok(ok, name, ok ? {} : { detail });
    if (ok && detail !== '') t.comment(detail.trim());
  }
  t.same(result.complaints, [], 'the kernel has nothing to complain about');
  t.ok(complete, 'the script came to its end', complete ? {} : { end: result.end, output: result.output.slice(-4000), logs: result.logs });
  if (complete) t.same(result.end, { kind: 'exited', status: checks.every((check) => check.ok) ? 0 : 1 }, 'and its status says the same');
}
