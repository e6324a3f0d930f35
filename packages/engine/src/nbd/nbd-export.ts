/** What a client can open: one replicated volume. */
import { EXPORT_FLAG } from './nbd-constants.js';

/** Bytes; powers of two. Requests that are no multiples of `minimum` are refused with EINVAL. */
export interface NbdBlockSize {
  readonly minimum: number;
  readonly preferred: number;
  /** Largest READ or WRITE. Clients assume 32 MiB unless they asked. */
  readonly maximum: number;
}

export interface NbdExport {
  readonly name: string;
  /** Shown by LIST; may be empty. */
  readonly description: string;
  /** Bytes; read anew for every request, because a volume may grow. */
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  /** Why nobody may open it now. */
  readonly refusal: string | undefined;
  readonly rotational: boolean;
  readonly canFlush: boolean;
  readonly canFua: boolean;
  readonly canTrim: boolean;
  readonly canWriteZeroes: boolean;
  readonly blockSize: NbdBlockSize;
}

/** How a session finds exports. An empty name asks for the default one. */
export interface NbdExports {
  list(): readonly NbdExport[];
  find(name: string): NbdExport | undefined;
}

export const BLOCK_SIZE_DEFAULT: NbdBlockSize = { minimum: 512, preferred: 4096, maximum: 32 << 20 };

/**
 * Transmission flags. One engine with one backend serves all connections, so a flush on one covers them all: CAN_MULTI_CONN.
 * @param structured - whether structured replies were negotiated; then READ is always one chunk, which is what DF asks for
 */
export function exportFlags(exported: NbdExport, structured: boolean): number {
  let flags = EXPORT_FLAG.HAS_FLAGS | EXPORT_FLAG.CAN_MULTI_CONN;
  if (exported.readOnly) flags |= EXPORT_FLAG.READ_ONLY;
  if (exported.rotational) flags |= EXPORT_FLAG.ROTATIONAL;
  if (exported.canFlush) flags |= EXPORT_FLAG.SEND_FLUSH;
  if (exported.canFua) flags |= EXPORT_FLAG.SEND_FUA;
  if (exported.canTrim) flags |= EXPORT_FLAG.SEND_TRIM;
  if (exported.canWriteZeroes) flags |= EXPORT_FLAG.SEND_WRITE_ZEROES;
  if (structured) flags |= EXPORT_FLAG.SEND_DF;
  return flags;
}
