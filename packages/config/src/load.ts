/** Reads a configuration from its files to the finished model. */
import { inheritOptions } from './inheritance.js';
import type { Config } from './model.js';
import { postParse } from './post-parse.js';
import { type ReadContext, ReadState } from './read-state.js';
import { excludeFile, readFile, readStdin } from './reader.js';
import { Fatal } from './report.js';

export interface ConfigFile {
  readonly directory: string;
  readonly name: string;
  readonly text: string;
  /** The text has no file; its name is shown as it is. */
  readonly isStdin?: boolean;
}

export interface LoadRequest {
  readonly main: ConfigFile;
  /** Read after the main file. */
  readonly further: readonly ConfigFile[];
  /** Files that includes are to pass over. */
  readonly excluded: readonly string[];
  /** Whether options are to be inherited; `dump` shows the configuration without. */
  readonly inherit: boolean;
}

export type Loaded =
  | { readonly ok: true; readonly config: Config; readonly syntax: '8' | '9' | undefined }
  /** Everything has been reported; this is what to exit with. */
  | { readonly ok: false; readonly exitCode: number };

/** @returns a refusal only for what stops the reading; a configuration found wrong otherwise comes back with `valid` false */
export function loadConfig(request: LoadRequest, context: ReadContext): Loaded {
  const { main } = request;
  const mainFile = main.isStdin ? main.name : context.source.canonical(main.directory, main.name);
  const state = new ReadState(context, mainFile);
  try {
    for (const name of request.excluded) excludeFile(state, main.directory, name);
    if (main.isStdin) readStdin(state, main.directory, main.name, main.text);
    else readFile(state, main.directory, main.name, main.text);
    for (const file of request.further) readFile(state, file.directory, file.name, file.text);
    const { config } = state;
    if (!config.valid) return { ok: false, exitCode: 10 };
    const madeUp = postParse(config, context, state.unique);
    if (madeUp) state.syntax ??= '8';
    if (request.inherit) inheritOptions(config, context.report);
    return { ok: true, config, syntax: state.syntax };
  } catch (error) {
    if (error instanceof Fatal) return { ok: false, exitCode: error.exitCode };
    throw error;
  }
}
