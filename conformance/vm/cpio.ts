// The archive format of an initramfs: cpio "newc" (Linux Documentation/driver-api/early-userspace/buffer-format.rst).
// Archives may be concatenated; the kernel unpacks one after the other.

export interface Entry {
  /** Relative path; folders above it are added by themselves. */
  readonly path: string;
  /** File contents, link target, or nothing for a folder. */
  readonly content?: Uint8Array | string;
  readonly kind?: 'file' | 'folder' | 'link';
  /** Permission bits. */
  readonly mode?: number;
}

const TYPE = { file: 0o100000, folder: 0o040000, link: 0o120000 } as const;

/** One archive with the trailer that ends it, padded to 512 bytes. */
export function cpio(entries: readonly Entry[]): Buffer {
  const parts: Buffer[] = [];
  const made = new Set<string>();
  let inode = 1;
  const put = (path: string, type: number, mode: number, content: Buffer): void => {
    const name = Buffer.from(`${path}\0`);
    const fields = [inode++, path === 'TRAILER!!!' ? 0 : type | mode, 0, 0, 1, 0, content.length, 0, 0, 0, 0, name.length, 0];
    const header = Buffer.from(`070701${fields.map((value) => value.toString(16).padStart(8, '0')).join('')}`);
    parts.push(padded(Buffer.concat([header, name]), 4), padded(content, 4));
  };
  const putFolders = (path: string): void => {
    const segments = path.split('/').slice(0, -1);
    segments.forEach((_, index) => {
      const folder = segments.slice(0, index + 1).join('/');
      if (made.has(folder)) return;
      made.add(folder);
      put(folder, TYPE.folder, 0o755, Buffer.alloc(0));
    });
  };
  for (const entry of entries) {
    const kind = entry.kind ?? 'file';
    putFolders(entry.path);
    if (kind === 'folder') {
      putFolders(`${entry.path}/`);
      continue;
    }
    const content = entry.content ?? '';
    const bytes = typeof content === 'string' ? Buffer.from(content) : Buffer.from(content.buffer, content.byteOffset, content.byteLength);
    put(entry.path, TYPE[kind], entry.mode ?? (kind === 'link' ? 0o777 : 0o644), bytes);
  }
  put('TRAILER!!!', 0, 0, Buffer.alloc(0));
  return padded(Buffer.concat(parts), 512);
}

function padded(bytes: Buffer, multiple: number): Buffer {
  const rest = bytes.length % multiple;
  return rest === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(multiple - rest)]);
}
