/** Whether the address that the configuration gives this node is configured on one of its interfaces. */
import type { Resource } from '@udrbd/config';
import { givenOption, isTty, type Session } from './session.js';

/** @returns false, with a message, when the address is not ours */
export function verifyIps(session: Session, res: Resource): boolean {
  const { config, io, settings, command } = session;
  if (config.global.disableIpVerification || !command.verifyIps) return true;
  if (settings.dryRun && !isTty(io)) return true;
  if (res.ignore || res.proxyOnly || (res.stacked && !session.stackedMode)) return true;
  if (command.action === 'adjust' && givenOption(session, 'skip-net') !== undefined) return true;
  const address = res.me?.address;
  if (address === undefined || address.family === 'ssocks' || address.family === 'sdp') return true;
  if (io.isLocalAddress(address)) return true;
  io.stderr(`${res.file}: in resource ${res.name}, on ${res.me!.names.join(' ')}:\n\tIP ${address.address} not found on this host.\n`);
  return false;
}
