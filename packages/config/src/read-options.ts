/** Option sections: which option is meant, whether it takes the value, and into which list it goes. */
import type { Node, Word } from './ast.js';
import type { OptionEntry, OptionList, Resource } from './model.js';
import { expectedIn, lookUp } from './option-sections.js';
import { checkValue } from './option-values.js';
import { type Option, type OptionGroup, optionsOf } from './options.js';
import type { ReadState } from './read-state.js';
import { shown } from './syntax-problem.js';

const SYNCER_ALIASES: Readonly<Record<string, string>> = { rate: 'resync-rate', after: 'resync-after', 'outdate-peer': 'fence-peer' };
/** A list of options, the groups it takes, and which names of them if not all. */
export type Target = readonly [OptionList, readonly OptionGroup[], ((name: string) => boolean)?];

/** Value of an entry that only says that the running module does not know the option. */
export const UNKNOWN = '\u0000unknown';
export const isUnknown = (entry: OptionEntry): boolean => entry.value === UNKNOWN;

function findTarget(lists: readonly Target[], name: string): [OptionList, Option] | undefined {
  for (const [list, groups, only] of lists) {
    if (only !== undefined && !only(name)) continue;
    const option = lookUp(groups, name);
    if (option !== undefined) return [list, option];
  }
  return undefined;
}

/**
 * A section of options: each goes to the first list whose groups know it.
 * @param lists - list, groups, and which names of them are meant if not all
 */
export function readOptionSection(state: ReadState, node: Node, lists: readonly Target[]): void {
  if (node.openLine === undefined) state.syntaxError();
  state.beginSection(node.openLine);
  for (const child of node.body) readOption(state, child, node.type, lists);
  state.complete(node);
}

export function readOption(state: ReadState, node: Node, section: Node['type'], lists: readonly Target[]): void {
  const written = node.at.text;
  if (written === '_unknown' && section !== 'syncer') {
    readUnknownOption(state, node, section, lists);
    return;
  }
  if (state.isShow && written === 'discard-my-data' && section === 'net') return;
  const negated = written.startsWith('no-');
  const plain = negated ? written.slice(3) : written;
  const target = findTarget(lists, section === 'syncer' ? (SYNCER_ALIASES[written] ?? written) : written);
  const found = target ?? (negated ? findTarget(lists, section === 'syncer' ? (SYNCER_ALIASES[plain] ?? plain) : plain) : undefined);
  if (found === undefined) noSuchOption(state, node.at, section, lists);
  const [list, option] = found;
  const value = readOptionValue(state, node, option);
  const fallback = target === undefined ? 'no' : 'yes';
  list.push({ name: option.name, value: value ?? fallback, option, inherited: false });
}

/** Checks the value, then that the statement is complete, in this order. @returns undefined when there is no value */
export function readOptionValue(state: ReadState, node: Node, option: Option): string | undefined {
  const word = node.words[0];
  const atEnd = word === undefined && node.endLine === undefined;
  const text = word?.text ?? (atEnd ? '' : undefined);
  if (text !== undefined) {
    const refusal = checkValue(option, text);
    if (refusal !== null) {
      let message = `Parse error: while parsing value ('${shown(text)}')\nfor ${option.name}. Value is ${refusal}.`;
      if (option.kind === 'enum') message += `\nAllowed values are: ${option.values.join(' | ')}`;
      if (refusal === 'too long' && 'maxLength' in option) message += `\nmax len: ${option.maxLength}`;
      const candidates = 'values' in option ? option.values : undefined;
      const wrong = word === undefined ? undefined : { ...word, ...(candidates === undefined ? {} : { candidates }) };
      state.error(word?.line ?? state.file.problem?.line ?? node.at.line, message, undefined, wrong);
    }
  }
  state.complete(node);
  return text;
}

function noSuchOption(state: ReadState, at: Word, section: Node['type'], lists: readonly Target[]): never {
  const candidates = lists.flatMap(([, groups]) => groups.flatMap(optionsOf)).map((option) => option.name);
  const message = `Parse error: '${expectedIn(section)}' expected,\n\tbut got '${shown(at.text)}'`;
  state.fatal(at.line, message, undefined, undefined, { ...at, candidates });
}

const SEMICOLON: Omit<Word, 'line' | 'column'> = { text: ';', number: 0 };

/**
 * `_unknown NAME;` is for show, where the running module does not know the option, but taken in a configuration as well: there the option
 * is without value. Of a name that nobody knows stock takes leave with a warning, and then finds the `;`.
 */
function readUnknownOption(state: ReadState, node: Node, section: Node['type'], lists: readonly Target[]): void {
  const name = node.words[0] ?? { ...node.at, ...SEMICOLON };
  const found = findTarget(lists, name.text) ?? findTarget(lists, name.text.replace(/^no-/, ''));
  if (found !== undefined) {
    state.complete(node);
    found[0].push({ name: found[1].name, value: state.isShow ? UNKNOWN : undefined, option: found[1], inherited: false });
    return;
  }
  if (section === 'net' || section === 'startup') noSuchOption(state, name, section, lists);
  state.warn(name.line, `Warning: Ignoring ${name.text}`);
  if (node.words.length > 0) noSuchOption(state, { ...name, ...SEMICOLON }, section, lists);
}

export function readStartup(state: ReadState, res: Resource, node: Node): void {
  if (node.openLine === undefined) state.syntaxError();
  state.beginSection(node.openLine);
  for (const child of node.body) {
    if (child.at.text === 'become-primary-on') {
      state.complete(child);
    } else if (child.at.text === 'stacked-timeouts') {
      const extra = child.words[0];
      if (extra !== undefined) {
        state.fatal(extra.line, `Parse error: ';' expected,\n\tbut got '${shown(extra.text)}' (TK ${extra.number})`);
      }
      state.complete(child);
      res.stackedTimeouts = true;
    } else readOption(state, child, 'startup', [[res.startup, ['startup']]]);
  }
  state.complete(node);
}

export function readProxyOptions(state: ReadState, node: Node, options: OptionList, plugins: string[]): void {
  if (node.openLine === undefined) state.syntaxError();
  state.beginSection(node.openLine);
  // A further section, and a further list of plugins, replaces the one before.
  options.length = 0;
  for (const child of node.body) {
    if (child.type === 'plugin') {
      plugins.length = 0;
      for (const line of child.body) {
        state.complete(line);
        plugins.push(line.words.map((w) => w.text).join(' '));
      }
      state.complete(child);
    } else readOption(state, child, 'proxy-options', [[options, ['proxy']]]);
  }
  state.complete(node);
}
