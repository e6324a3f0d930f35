/** The running configuration, from the text that `drbdsetup show` prints. */
import { parse } from './grammar.js';
import type { Connection, Host, OptionList, Resource } from './model.js';
import { checkAddressConflicts, unknownVolume } from './post-parse.js';
import { isUnknown, readProxyOptions } from './read-options.js';
import { ReadState } from './read-state.js';
import { readShow } from './reader.js';
import { Fatal, type Report } from './report.js';

/** What a running proxy has been told. */
export interface ProxySettings {
  readonly options: OptionList;
  readonly plugins: readonly string[];
}

export type LoadedProxySettings =
  /** Without settings when the text has none, as of a connection that the proxy does not know. */
  { readonly ok: true; readonly settings: ProxySettings | undefined } | { readonly ok: false; readonly exitCode: number };

export type LoadedShow =
  /** `valid` is false when something was found wrong, and reported, that does not stop the reading. */
  | { readonly ok: true; readonly resources: readonly Resource[]; readonly valid: boolean }
  | { readonly ok: false; readonly exitCode: number };

function emptyState(report: Report): ReadState {
  const nowhere = () => '';
  return new ReadState(
    {
      source: { read: () => ({ error: 'missing', reason: '' }), glob: () => [], canonical: nowhere, identity: nowhere },
      report,
      nodeName: '_this_host',
      isLocalAddress: () => false,
      moduleVersion: undefined,
      verbose: 0,
      isTty: false,
    },
    'drbdsetup show',
    true,
  );
}

/** @param name - of the text, for messages */
export function loadProxySettings(text: string, name: string, report: Report): LoadedProxySettings {
  const state = emptyState(report);
  const parsed = parse(text, 'proxy');
  state.file = { name, canonical: name, directory: '.', problem: parsed.problem, text };
  const [section] = parsed.root.body;
  if (section === undefined) return { ok: true, settings: undefined };
  const settings = { options: [] as OptionList, plugins: [] as string[] };
  try {
    readProxyOptions(state, section, settings.options, settings.plugins);
    return { ok: true, settings };
  } catch (error) {
    if (error instanceof Fatal) return { ok: false, exitCode: error.exitCode };
    throw error;
  }
}

/**
 * @param configFile - name of the configuration, to which stock ascribes what it finds wrong about the running one
 * @returns the resources in the order of the text; a syntax error has been reported
 */
export function loadShow(text: string, report: Report, configFile: string): LoadedShow {
  const state = emptyState(report);
  try {
    readShow(state, text, configFile);
  } catch (error) {
    if (error instanceof Fatal) return { ok: false, exitCode: error.exitCode };
    throw error;
  }
  const invalid = () => {
    state.config.valid = false;
  };
  checkAddressConflicts(state.config.resources, { report, invalid });
  for (const res of state.config.resources) {
    const [me] = res.hosts;
    res.me = me;
    for (const connection of res.connections) {
      if (connection.paths.length === 0) continue;
      for (const { vnr, line } of connection.peerDevices) {
        if (me === undefined || me.volumes.some((v) => v.vnr === vnr)) continue;
        report(`${res.file}:${line}: Resource ${res.name}: ${unknownVolume(vnr, '_this_host')}\n`);
        invalid();
      }
      addPeerDevices(connection, me);
    }
  }
  return { ok: true, resources: state.config.resources, valid: state.config.valid };
}

/** show leaves out peer devices without options; they exist as soon as there is a path. */
function addPeerDevices(connection: Connection, me: Host | undefined): void {
  for (const { vnr } of me?.volumes ?? []) {
    if (connection.peerDevices.some((d) => d.vnr === vnr)) continue;
    connection.peerDevices.push({ line: 0, vnr, implicit: true, options: [], volume: undefined, peerVolume: undefined });
  }
}

/** Whether an entry of a running resource only says that the running module does not know the option. */
export { isUnknown };
