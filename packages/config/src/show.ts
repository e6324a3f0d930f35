/** The running configuration, from the text that `drbdsetup show` prints. */
import type { Resource } from './model.js';
import { isUnknown, Reader } from './reader.js';
import { Fatal, type Report } from './report.js';

export type LoadedShow = { readonly ok: true; readonly resources: readonly Resource[] } | { readonly ok: false; readonly exitCode: number };

/** @returns the resources in the order of the text; a syntax error has been reported */
export function loadShow(text: string, report: Report): LoadedShow {
  const nowhere = () => '';
  const reader = new Reader(
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
  );
  try {
    reader.readShow(text);
  } catch (error) {
    if (error instanceof Fatal) return { ok: false, exitCode: error.exitCode };
    throw error;
  }
  for (const res of reader.config.resources) {
    const [me] = res.hosts;
    res.me = me;
    for (const volume of me?.volumes ?? []) if (volume.metaDisk === undefined && volume.disk === 'none') volume.metaIndex = undefined;
  }
  return { ok: true, resources: reader.config.resources };
}

/** Whether an entry of a running resource only says that the running module does not know the option. */
export { isUnknown };
