/** The running configuration, from the text that `drbdsetup show` prints. */
import type { Connection, Host, Resource } from './model.js';
import { isUnknown } from './read-options.js';
import { ReadState } from './read-state.js';
import { readShow } from './reader.js';
import { Fatal, type Report } from './report.js';

export type LoadedShow = { readonly ok: true; readonly resources: readonly Resource[] } | { readonly ok: false; readonly exitCode: number };

/** @returns the resources in the order of the text; a syntax error has been reported */
export function loadShow(text: string, report: Report): LoadedShow {
  const nowhere = () => '';
  const state = new ReadState(
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
  try {
    readShow(state, text);
  } catch (error) {
    if (error instanceof Fatal) return { ok: false, exitCode: error.exitCode };
    throw error;
  }
  for (const res of state.config.resources) {
    const [me] = res.hosts;
    res.me = me;
    for (const connection of res.connections.filter((c) => c.paths.length > 0)) addPeerDevices(connection, me);
  }
  return { ok: true, resources: state.config.resources };
}

/** show leaves out peer devices without options; they exist as soon as there is a path. */
function addPeerDevices(connection: Connection, me: Host | undefined): void {
  for (const { vnr } of me?.volumes ?? []) {
    if (connection.peerDevices.some((d) => d.vnr === vnr)) continue;
    connection.peerDevices.push({ vnr, implicit: true, options: [], volume: undefined, peerVolume: undefined });
  }
}

/** Whether an entry of a running resource only says that the running module does not know the option. */
export { isUnknown };
