/** Takes a command to its targets: every resource or those named, and within them every volume, peer and path it loops over. */
import { type Connection, hasDisk, isIgnored, type Resource } from '@udrbd/config';
import { type Action, actionOf, verboseFlags } from './actions.js';
import { resolveArgument, surveyArguments } from './arguments.js';
import { isHandler, isProxyCommand } from './commands.js';
import { runDeferred } from './deferred.js';
import { backendOptions, run } from './helper.js';
import { setupCall } from './lines.js';
import { convertResyncAfter, preparePeers, validateResource } from './prepare.js';
import type { Session, Target } from './session.js';
import { verifyIps } from './verify-ips.js';

const CONFIG_INVALID = 10;

/** Whether a node that runs nothing but proxies for a resource has a part in the command. */
const concernsProxies = (session: Session): boolean => isProxyCommand(session.command) || session.command.name.startsWith('adjust');

const isDump = ({ command }: Session): boolean => command.action === 'dump' || command.action === 'dump-xml';

/** @returns the exit code */
export async function dispatch(session: Session, args: readonly string[]): Promise<number> {
  const { command } = session;
  if (args.length === 0 && (command.resources === 'none' || command.action === 'status')) return withoutResources(session);
  const { config, io } = session;
  if (config.resources.length === 0 && !isDump(session)) {
    io.stderr('no resources defined!\n');
    return 1;
  }
  if (!prepareAll(session)) return CONFIG_INVALID;
  const code = args.length === 0 || args[0] === 'all' ? await onAll(session) : await onNamed(session, args);
  if (session.fatalExitCode !== undefined) return session.fatalExitCode;
  return code >= 20 ? code : Math.max(code, await runDeferred(session));
}

/** Every resource is looked at, whichever is meant. @returns whether all are fit for use */
function prepareAll(session: Session): boolean {
  const { config } = session;
  for (const res of config.resources) {
    if (!isDump(session)) preparePeers(res);
    validateResource(session, res);
    if (config.valid && !res.ignore && !isDump(session)) convertResyncAfter(session, res);
    if (!config.valid) return false;
  }
  return true;
}

async function withoutResources(session: Session): Promise<number> {
  const { command, io } = session;
  let code: number;
  if (command.action === 'status')
    code = await run(session, setupCall('', 'short', 'status', ...verboseFlags(session), ...backendOptions(session, command.context)));
  else code = await onEverything(session);
  if (code >= 10) io.stderr(`command ${command.name} exited with code ${code}\n`);
  return code;
}

/** The commands that are about the whole configuration, whatever they are told. */
async function onEverything(session: Session): Promise<number> {
  if (session.command.action === 'wait-con-int') return (await import('./wait.js')).waitInteractively(session);
  return (await import('./print-commands.js')).printWhole(session) ?? 0;
}

/** Resources that `all` means. */
const isMeant = (session: Session, res: Resource): boolean => isDump(session) || (!res.ignore && res.stacked === session.stackedMode);

async function onAll(session: Session): Promise<number> {
  const { config, io, nodeName } = session;
  if (!isDump(session) && !config.resources.some((res) => !res.ignore && res.stacked === session.stackedMode)) {
    if (session.stackedMode) {
      io.stderr(`WARN: nothing stacked for this host (${nodeName}), nothing to do in stacked mode!\n`);
    } else {
      io.stderr(`WARN: no normal resources defined for this host (${nodeName})!?\n`);
      if (config.resources.some((res) => res.ignore)) io.stderr("Misspelled name of the local machine with the 'on' keyword ?\n");
    }
    return 1;
  }
  const isConcerned = (res: Resource) => !res.proxyOnly || isDump(session) || concernsProxies(session);
  const meant = config.resources.filter((res) => isMeant(session, res) && isConcerned(res));
  let allLocal = true;
  for (const res of meant) allLocal = verifyIps(session, res) && allLocal;
  if (!allLocal) return CONFIG_INVALID;
  if (isDump(session)) {
    (await import('./print-commands.js')).dumpAll(session, session.command.action === 'dump-xml');
    return 0;
  }
  let highest = 0;
  for (const res of meant) {
    const code = await onTarget(session, { res, argument: res.name }, true);
    if (session.fatalExitCode !== undefined) return code;
    if (code >= 20 && !isHandler(session.command)) return code;
    highest = Math.max(highest, code);
  }
  return highest;
}

/** Ends the run: what was put off so far is not done either. */
function stop(session: Session, exitCode: number): number {
  session.fatalExitCode = exitCode;
  return exitCode;
}

/** Of several peers of a resource only the first one in the configuration can be worked on. */
function ignoreFurtherPeers(resources: readonly Resource[], named: ReadonlySet<Connection>): void {
  if (named.size < 2) return;
  for (const res of resources) {
    const [first, ...further] = res.connections.filter((c) => named.has(c));
    for (const c of further) if (c.peer !== first?.peer) c.ignoreForNow = true;
  }
}

async function onNamed(session: Session, args: readonly string[]): Promise<number> {
  const { config, io, command } = session;
  const named = surveyArguments(config, args, (text) => io.stderr(text));
  if ('message' in named) {
    io.stderr(`${named.message}\n`);
    return named.exitCode;
  }
  ignoreFurtherPeers(config.resources, named);
  let highest = 0;
  for (const argument of args) {
    const resolved = resolveArgument(config, argument);
    if (!('target' in resolved)) {
      for (const message of resolved.messages) io.stderr(`${message}\n`);
      if (resolved.final) return stop(session, resolved.exitCode);
      highest = Math.max(highest, resolved.exitCode);
      continue;
    }
    const { target } = resolved;
    const { res, connection } = target;
    if (!config.valid) return stop(session, CONFIG_INVALID);
    if (res.proxyOnly && !concernsProxies(session)) {
      io.stderr(`'${res.name}' ignored, since this host (${session.nodeName}) is a proxy node, not a DRBD node.\n`);
      highest = Math.max(highest, 1);
      continue;
    }
    const volume = checkVolume(session, target);
    if (volume === undefined) return stop(session, 1);
    if (connection !== undefined) for (const c of res.connections) if (c.peer !== connection.peer) c.ignoreForNow = true;
    session.stackedMode = res.stacked;
    // Stock does this where it looks a resource up by its name.
    if (isDump(session) && !argument.startsWith('minor-')) preparePeers(res);
    if (!verifyIps(session, res) && !isDump(session)) return stop(session, CONFIG_INVALID);
    const code = await onTarget(session, volume.keep ? target : { ...target, volume: undefined }, false);
    if (session.fatalExitCode !== undefined) return code;
    if (code >= 20 && !isHandler(command)) return code;
    highest = Math.max(highest, code);
  }
  return highest;
}

/** Whether the command may be told a volume, or must be. @returns undefined after a message; else whether to keep the volume */
function checkVolume({ command, io }: Session, { volume, argument, res }: Target): { keep: boolean } | undefined {
  if (volume !== undefined && command.volume === 'no') {
    if (volume.implicit) return { keep: false };
    io.stderr(`${command.name} operates on whole resources, but you specified a specific volume!\n`);
    return undefined;
  }
  if (volume === undefined && command.volume === 'required' && !res.me?.volumes.some((v) => v.implicit)) {
    io.stderr(
      `${command.name} requires a specific volume id, but none is specified.\nTry '${command.name} minor-<minor_number>' or '${command.name} ${argument}/<vnr>'\n`,
    );
    return undefined;
  }
  return { keep: true };
}

async function onTarget(session: Session, target: Target, isAll: boolean): Promise<number> {
  // As in stock: such a command repeats itself for every resource that it says it will ignore.
  if (session.command.resources === 'none') return onEverything(session);
  const action = await actionOf(session.command);
  const { each } = session.command;
  if (session.command.action === 'set-gi' && target.res.hosts.length === 1) return overVolumes(session, target, action, isAll, false);
  if (each.includes('volume') || (!isAll && needsImplicitVolume(session, target)))
    return overVolumes(session, target, action, isAll, each.includes('peer'));
  return each.includes('peer') ? overPeers(session, target, action) : action(session, target, session.command);
}

/** A volume that has to be named may be left out when there is but the implicit one. */
const needsImplicitVolume = ({ command }: Session, { volume, res }: Target): boolean =>
  command.volume === 'required' && volume === undefined && (res.me?.volumes.some((v) => v.implicit) ?? false);

async function overVolumes(session: Session, target: Target, action: Action, isAll: boolean, peersToo: boolean): Promise<number> {
  const { command, io } = session;
  const volumes = target.volume === undefined ? (target.res.me?.volumes ?? []) : [target.volume];
  for (const volume of volumes) {
    if (command.needsDisk && !hasDisk(volume)) {
      if (isAll) continue;
      io.stderr(`The ${command.name} command requires a local disk, but the configuration gives none.\n`);
      return stop(session, CONFIG_INVALID);
    }
    const part = { ...target, volume };
    const code = peersToo ? await overPeers(session, part, action) : await action(session, part, command);
    if (code !== 0) return code;
  }
  return 0;
}

async function overPeers(session: Session, target: Target, action: Action): Promise<number> {
  const { command } = session;
  for (const connection of target.res.connections.filter((c) => !isIgnored(c))) {
    const part = { ...target, connection };
    const code = command.each.includes('path') ? await overPaths(session, part, action) : await action(session, part, command);
    if (code !== 0) return code;
  }
  return 0;
}

async function overPaths(session: Session, target: Target, action: Action): Promise<number> {
  let code = 0;
  for (const path of target.connection!.paths) {
    if (!path.ignore) code = await action(session, { ...target, path }, session.command);
  }
  return code;
}
