/** Reads the recorded outputs of the stock formatter: see conformance/vectors/drbdsetup/MANIFEST.md for the format. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const VECTORS = fileURLToPath(new URL('../../../../conformance/vectors/drbdsetup/', import.meta.url));

export interface GoldenBlock {
  readonly command: string;
  /** What the header says about the engine's answer. */
  readonly remark: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly status: number;
}

export const readVector = (path: string): string => readFileSync(VECTORS + path, 'utf8');

export function readGolden(path: string): GoldenBlock[] {
  return readVector(path)
    .split(/^(?=\$ drbdsetup )/m)
    .map((text) => {
      const match = /^\$ drbdsetup ?(.*?)(?:\s{2,}# (.*))?\n--- stdout\n(.*)--- stderr\n(.*)--- exit (\d+)\n/s.exec(text);
      if (match === null) throw new Error(`${path}: not a block: ${text.slice(0, 60)}`);
      const [, command = '', remark = '', stdout = '', stderr = '', status] = match;
      return { command: command.trim(), remark, stdout, stderr, status: Number(status) };
    });
}

export const wordsOf = (command: string): string[] => command.split(' ').filter((word) => word !== '');
