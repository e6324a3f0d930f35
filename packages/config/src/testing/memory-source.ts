/** Configuration files held in memory, and loading them as a test wants it. */
import { type ConfigFile, type Loaded, loadConfig } from '../load.js';
import type { ConfigSource, ReadContext } from '../read-state.js';

export interface LoadedText {
  readonly loaded: Loaded;
  /** Everything that was reported. */
  readonly messages: string;
}

const join = (directory: string, name: string): string => (name.startsWith('/') ? name : `${directory}/${name}`);

/** Patterns match whole names; only `*` is special. */
function memorySource(files: Readonly<Record<string, string>>): ConfigSource {
  const names = Object.keys(files).sort();
  return {
    read: (directory, name) => {
      const text = files[join(directory, name)];
      return text === undefined ? { error: 'missing', reason: 'No such file or directory' } : { text };
    },
    glob: (directory, pattern) => {
      const expression = new RegExp(
        `^${join(directory, pattern)
          .replace(/[.+?^${}()|[\]\\]/g, '\\$&')
          .replaceAll('*', '[^/]*')}$`,
      );
      return names
        .filter((name) => expression.test(name))
        .map((name) => (pattern.startsWith('/') ? name : name.slice(directory.length + 1)));
    },
    canonical: join,
    identity: join,
  };
}

/** Loads `/etc/drbd.conf` out of the files given, as node alpha. */
export function loadFiles(files: Readonly<Record<string, string>>, inherit = true, context: Partial<ReadContext> = {}): LoadedText {
  let messages = '';
  const main: ConfigFile = { directory: '/etc', name: 'drbd.conf', text: files['/etc/drbd.conf'] ?? '' };
  const loaded = loadConfig(
    { main, further: [], excluded: [], inherit },
    {
      source: memorySource(files),
      report: (text) => {
        messages += text;
      },
      nodeName: 'alpha',
      isLocalAddress: () => false,
      moduleVersion: '9.2.0',
      verbose: 0,
      isTty: false,
      ...context,
    },
  );
  return { loaded, messages };
}

export const loadText = (text: string, inherit = true): LoadedText => loadFiles({ '/etc/drbd.conf': text }, inherit);
