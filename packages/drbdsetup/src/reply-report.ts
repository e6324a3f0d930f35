/** The one place where an answer of the engine becomes text and an exit status. */
import { RETURN_CODES, type Reply, returnCodeText } from '@udrbd/control';
import type { CommandIo } from './command-io.js';

export const EXIT_CONFIGURATION_REFUSED = 10;
export const EXIT_STATE_CHANGE_REFUSED = 11;

/** Refused state changes with an exit status of their own. */
const STATE_CHANGE_STATUS: Readonly<Record<number, number>> = {
  [RETURN_CODES.SS_NO_UP_TO_DATE_DISK.code]: 17,
  [RETURN_CODES.SS_LOWER_THAN_OUTDATED.code]: 5,
  [RETURN_CODES.SS_NO_LOCAL_DISK.code]: 16,
};

/**
 * Prints what stock prints about an answer.
 * @param object - the resource or minor as it was typed, `??` when there is none
 * @returns the exit status
 */
export function reportReply(io: CommandIo, object: string, { code, info }: Pick<Reply, 'code' | 'info'>): number {
  const infoLines = info.map((text) => `${text}\n`).join('');
  if (code === RETURN_CODES.NO_ERROR.code || code === RETURN_CODES.SS_SUCCESS.code) {
    if (info.length > 0) io.stderr(`warnings from kernel:\n${infoLines}`);
    return 0;
  }
  if (code >= 2 && code <= 4) return 0;
  const [text, status] = failureText(code);
  io.stderr(`${object}: ${text}\n${info.length > 0 ? `additional info from kernel:\n${infoLines}` : ''}`);
  return status;
}

function failureText(code: number): [text: string, status: number] {
  const text = returnCodeText(code);
  if (text === undefined) return [`Error code ${code} unknown.\nYou should update the drbd userland tools.`, 20];
  if (code > RETURN_CODES.NO_ERROR.code) return [`Failure: (${code}) ${text}`, EXIT_CONFIGURATION_REFUSED];
  return [`State change failed: (${code})${code === 0 ? '' : ' '}${text}`, STATE_CHANGE_STATUS[code] ?? EXIT_STATE_CHANGE_REFUSED];
}
