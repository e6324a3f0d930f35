/** CRAM-HMAC: P_AUTH_CHALLENGE and P_AUTH_RESPONSE. The keyed hash itself is computed by the caller. */
import { accept, type Decoded, refuse } from './outcome.js';

/** Random bytes in a challenge. */
export const CHALLENGE_BYTES = 64;
/** Longest shared secret in bytes; the key is its bytes without a NUL. */
export const SHARED_SECRET_BYTES_MAX = 64;

/**
 * Judges the peer's challenge. Every refusal is permanent: both nodes go StandAlone.
 * @param own - the challenge we sent
 * @param peer - the payload received; DRBD 8.4 peers may send up to 128 bytes and use them all
 * @returns the bytes to answer for
 */
export function checkChallenge(own: Uint8Array, peer: Uint8Array, apv: number): Decoded<Uint8Array> {
  if (peer.length < CHALLENGE_BYTES) return refuse('P_AUTH_CHALLENGE', 'length', 'too short', peer.length);
  if (peer.length > (apv >= 110 ? CHALLENGE_BYTES : CHALLENGE_BYTES * 2))
    return refuse('P_AUTH_CHALLENGE', 'length', 'too long', peer.length);
  if (equalBytes(own.subarray(0, CHALLENGE_BYTES), peer.subarray(0, CHALLENGE_BYTES)))
    // A mirror: somebody sends our own packets back. `Peer presented the same challenge!`
    return refuse('P_AUTH_CHALLENGE', 'challenge', 'not permitted', 'own challenge');
  return accept(peer);
}

/**
 * The message whose HMAC under the shared secret is the response.
 * @param challenge - of the node that does *not* respond
 * @param responderNodeId - appended from version 110 on
 */
export function responseMessage(challenge: Uint8Array, apv: number, responderNodeId: number): Uint8Array {
  if (apv < 110) return challenge;
  const message = new Uint8Array(challenge.length + 4);
  message.set(challenge);
  new DataView(message.buffer).setUint32(challenge.length, responderNodeId);
  return message;
}

/** Compares without an early exit, so that the time tells nothing about the place of a difference. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= a[i]! ^ b[i]!;
  return difference === 0;
}

/** Digest lengths in bytes of the kernel hashes that configurations use; crc32c goes out little endian. */
export const DIGEST_BYTES: Readonly<Record<string, number>> = {
  crc32c: 4,
  crc32: 4,
  md5: 16,
  sha1: 20,
  sha224: 28,
  sha256: 32,
  sha384: 48,
  sha512: 64,
};
