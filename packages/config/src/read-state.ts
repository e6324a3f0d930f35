/** What is shared while a configuration is read: where we are, what has been seen, and how problems are told. */
import type { Node, ParsedFile, Word } from './ast.js';
import { type Address, type Config, DEFAULT_GLOBALS } from './model.js';
import { nearest } from './nearest.js';
import { EXIT, Fatal, type Report } from './report.js';
import { KEYWORDS } from './tokens.js';
import { Uniqueness } from './uniqueness.js';

export type SourceText = { readonly text: string } | { readonly error: 'missing' | 'directory' | 'unreadable'; readonly reason: string };

/** Where files come from. Names are relative to `directory` unless absolute. */
export interface ConfigSource {
  read(directory: string, name: string): SourceText;
  /** The files a pattern stands for, sorted by byte value, in the form of the pattern. A plain name stands for itself if it exists. */
  glob(directory: string, pattern: string): string[];
  /** Absolute path with the directory part resolved and the last component as it is. */
  canonical(directory: string, name: string): string;
  /** Equal for all names of one file. */
  identity(directory: string, name: string): string;
}

/** What the reader has to know about the world. */
export interface ReadContext {
  readonly source: ConfigSource;
  readonly report: Report;
  /** Called behind the message about it. */
  readonly show?: (place: Place) => void;
  readonly nodeName: string;
  isLocalAddress(address: Address): boolean;
  /** Whether the path is a block special file with DRBD's major number. */
  isDrbdDevice?(path: string): boolean;
  /** Version `M.m.p` that `require-drbd-module-version` compares with; undefined = not known. */
  readonly moduleVersion: string | undefined;
  /** Only resources with a proxy on this node matter. */
  readonly proxiesOnly?: boolean;
  readonly verbose: number;
  /** Both stdin and stdout are terminals. */
  readonly isTty: boolean;
}

/** One suffix of a plain number: K, M, G, or s for sectors. */
const SUFFIX: Readonly<Record<string, number>> = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, s: 512 };

/** A number token as a number, without its suffix: what counts where no range is checked. */
export const numberOf = (word: Word): number => Number.parseInt(word.text, 10);

const scaledNumberOf = (word: Word): number => numberOf(word) * (SUFFIX[word.text.at(-1) ?? ''] ?? 1);

export interface OpenFile {
  /** As given on the command line or by include, for messages while parsing. */
  readonly name: string;
  readonly canonical: string;
  readonly directory: string;
  readonly problem: ParsedFile['problem'];
  readonly text: string;
}

/** Where in a text something is wrong, for who can be shown it. */
export interface Place {
  /** The line as it stands in the file. */
  readonly text: string;
  /** Counted from 1; 0 = the whole line. */
  readonly column: number;
  readonly length: number;
  /** What may have been meant. */
  readonly suggestion: string | undefined;
}

/** A word of the file that is wrong, and the words that could stand there. */
export interface WrongWord {
  readonly column: number;
  readonly text: string;
  readonly candidates?: Iterable<string>;
}

export class ReadState {
  readonly config: Config;
  readonly context: ReadContext;
  readonly unique: Uniqueness;
  /** Files read so far, by identity. */
  readonly seen = new Set<string>();
  file: OpenFile = { name: '', canonical: '', directory: '.', problem: undefined, text: '' };
  /** The text is the output of `drbdsetup show`. */
  readonly isShow: boolean;
  /** Where the last section with options or of a host began; some messages point there whatever they are about. */
  sectionLine = 0;
  /** The same for others, where a connection counts, too. */
  connectionLine = 0;
  /** The class of syntax of the whole configuration, decided by the first statement that tells. */
  syntax: '8' | '9' | undefined;

  constructor(context: ReadContext, mainFile: string, isShow = false) {
    this.context = context;
    this.unique = new Uniqueness(context.report);
    this.unique.enabled = !isShow;
    this.isShow = isShow;
    this.config = { file: mainFile, global: { ...DEFAULT_GLOBALS }, common: undefined, resources: [], valid: true };
  }

  beginSection(line: number): void {
    this.sectionLine = line;
    this.connectionLine = line;
  }

  /** Ends the reading with what the grammar could not accept. */
  syntaxError(): never {
    const { problem, name } = this.file;
    const keywords = [...KEYWORDS.keys(), 'protocol'].filter((word) => !word.startsWith('_'));
    if (problem === undefined) throw new Error('a section without an end in a file without a problem');
    const near = nearest(problem.found, problem.expected) ?? nearest(problem.found, keywords);
    const wrong = { column: problem.column, text: problem.found, candidates: near === undefined ? [] : [near] };
    return this.fatal(problem.line, problem.message, EXIT.configInvalid, name, wrong);
  }

  fatal(line: number, message: string, exitCode: number = EXIT.configInvalid, file = this.file.name, wrong?: WrongWord): never {
    this.context.report(`${file}:${line}: ${message}\n`);
    this.#show(line, wrong);
    throw new Fatal(exitCode);
  }

  /** Reports an error and goes on; the configuration is invalid from now on. */
  error(line: number, message: string, file = this.file.name, wrong?: WrongWord): void {
    this.context.report(`${file}:${line}: ${message}\n`);
    this.#show(line, wrong);
    this.config.valid = false;
  }

  #show(line: number, wrong: WrongWord | undefined): void {
    const { show } = this.context;
    if (show === undefined) return;
    const text = this.file.text.split('\n')[line - 1];
    if (text === undefined || text.trim() === '') return;
    const suggestion = wrong?.candidates === undefined ? undefined : nearest(wrong.text, wrong.candidates);
    show({ text: text.replace(/\r$/, ''), column: wrong?.column ?? 0, length: wrong?.text.length ?? 0, suggestion });
  }

  warn(line: number, message: string): void {
    this.context.report(`${this.file.name}:${line}: ${message}\n`);
  }

  /** Something that may stand once in the whole configuration. */
  onceInRun(line: number, what: string, key: string): void {
    this.unique.inRun(this.file.name, line, what, key);
  }

  /** Something that may stand once in a resource. */
  once(line: number, what: string, key: string): void {
    this.unique.inResource(this.file.name, line, what, key);
  }

  /** Stops here if the text broke off inside this statement. */
  complete(node: Node): void {
    if (node.endLine === undefined) this.syntaxError();
  }

  range(word: Word, name: string, min: number, max: number): void {
    const value = scaledNumberOf(word);
    if (value < min || value > max) this.error(word.line, `${name} ${word.text} => ${value} out of range [${min}..${max}].`);
  }
}

export const parentOf = (path: string): string => path.slice(0, path.lastIndexOf('/')) || '/';
