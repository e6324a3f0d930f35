#!/usr/bin/env node
/**
 * udrbd-engine: one daemon per host (and run directory).
 *
 * Without `--foreground` it starts itself again in the background and returns as soon as the control socket answers. That path loads
 * nothing: devices may be waiting for the daemon.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, openSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { ServiceMode } from './service.js';
import { ENGINE_VERSION } from './version.js';

const USAGE = `usage: udrbd-engine [--foreground | --upgrade | --orphans | --remove-orphans]

Serves replicated volumes; drbdsetup starts it on demand. See docs/engine.md.
  --foreground      stay in the foreground and log to standard error
  --upgrade         take everything over from the engine that runs; what uses its devices sees a pause
  --orphans         list ublk devices of an engine whose journal is lost
  --remove-orphans  end them: what waits for them fails
  --version         print the version
`;

const SERVICE: Readonly<Record<string, ServiceMode>> = {
  '--foreground': 'foreground',
  '--background': 'background',
  '--successor': 'successor',
};
/** `--background` and `--successor` are what the engine starts itself with. */
const OPTIONS = [...Object.keys(SERVICE), '--upgrade', '--orphans', '--remove-orphans', '--version', '--help'];

const options = process.argv.slice(2);
const unknown = options.find((option) => !OPTIONS.includes(option));
const mode = options.map((option) => SERVICE[option]).find((given) => given !== undefined);
if (unknown !== undefined) fail(`udrbd-engine: unknown option '${unknown}'\n${USAGE}`);
else if (options.includes('--help')) process.stdout.write(USAGE);
else if (options.includes('--version')) process.stdout.write(`udrbd-engine ${ENGINE_VERSION}\n`);
else {
  try {
    if (mode !== undefined) await (await import('./service.js')).serve(mode);
    else if (options.includes('--orphans') || options.includes('--remove-orphans')) {
      const print = (line: string) => process.stdout.write(`${line}\n`);
      await (await import('./desk/orphans.js')).orphans(options.includes('--remove-orphans'), print);
    } else daemonise(options.includes('--upgrade') ? '--successor' : '--background');
  } catch (error) {
    fail(`udrbd-engine: ${error instanceof Error ? error.message : String(error)}\n`);
  }
}

function fail(text: string): void {
  process.stderr.write(text);
  process.exitCode = 20;
}

/** Starts the daemon proper and waits until it serves, or says why not. */
function daemonise(option: '--background' | '--successor'): void {
  const runDir = process.env.UDRBD_RUN_DIR || '/run/udrbd';
  mkdirSync(runDir, { recursive: true, mode: 0o700 });
  const log = openSync(`${runDir}/engine.log`, 'a', 0o600);
  const command = [process.execPath, ...process.execArgv, fileURLToPath(import.meta.url), option];
  // systemd waits for the end of a main process only when that was its child at the moment it was named, which for a successor is
  // before we are gone. So that one is not ours.
  const isOrphan = option === '--successor';
  const [program, ...args] = isOrphan ? ['/bin/sh', '-c', '"$0" "$@" &', ...command] : command;
  const child = spawn(program!, args, { detached: true, cwd: '/', stdio: ['ignore', log, log, 'ipc'] });
  let isReady = false;
  child.on('message', (message) => {
    if (message !== 'ready') {
      process.stderr.write(`udrbd-engine: ${String(message)}\n`);
      return;
    }
    isReady = true;
    child.disconnect();
    child.unref();
  });
  child.on('exit', (code) => {
    if (!isReady && !(isOrphan && code === 0)) process.exitCode = code ?? 20;
  });
  child.on('disconnect', () => {
    if (!isReady) process.exitCode ||= 20;
  });
}
