/**
 * What the grammar makes of a file: a tree of statements and sections in source order, with the line of every word. Meaning (what
 * may occur twice, which options exist, who inherits what) is decided later, walking this tree in order, so that messages come in
 * the order in which the text is read.
 */

/** A word of the file. `number` is the token number of stock messages. */
export interface Word {
  readonly text: string;
  readonly line: number;
  readonly column: number;
  readonly number: number;
}

export interface AddressNode {
  /** Absent when the file names no family. */
  readonly family?: Word;
  readonly address?: Word;
  readonly port?: Word;
}

export type NodeType =
  | 'file'
  | 'global'
  | 'global-setting'
  | 'resource'
  | 'common'
  | 'include'
  | 'require-version'
  | 'skip'
  | 'protocol'
  | 'on'
  | 'floating'
  | 'stacked'
  | 'this-host'
  | 'volume'
  | 'device'
  | 'disk'
  | 'meta-disk'
  | 'tiebreaker'
  | 'address'
  | 'node-id'
  | 'connection'
  | 'path'
  | 'host'
  | 'via-proxy'
  | 'via-outside-address'
  | 'connection-mesh'
  | 'hosts'
  | 'peer-node-id'
  | 'cstate'
  | 'template-file'
  | 'proxy'
  | 'inside'
  | 'outside'
  | 'options'
  | 'net'
  | 'disk-options'
  | 'startup'
  | 'handlers'
  | 'syncer'
  | 'proxy-options'
  | 'plugin'
  | 'plugin-line'
  | 'option';

/**
 * A statement or section. A section whose text broke off (a syntax error, the end of the file) has no `endLine`; the same holds
 * for a statement without its `;`.
 */
export interface Node {
  readonly type: NodeType;
  /** The word it begins with. */
  readonly at: Word;
  /** Names, values: what follows the keyword, in order. */
  readonly words: Word[];
  body: Node[];
  address?: AddressNode;
  minor?: Word;
  index?: Word;
  port?: Word;
  /** Line of the opening brace; absent when it has not been reached. */
  openLine?: number;
  endLine?: number;
}

/** The first thing the grammar could not accept. Nothing after it has been read. */
export interface SyntaxProblem {
  readonly line: number;
  /** 0 at the end of the file. */
  readonly column: number;
  /** Complete text of the message, without position. */
  readonly message: string;
  /** What stood there, and the words that could have, for suggestions. */
  readonly found: string;
  readonly expected: readonly string[];
}

export interface ParsedFile {
  readonly root: Node;
  readonly problem?: SyntaxProblem;
}
