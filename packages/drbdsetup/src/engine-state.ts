/** What the engine says that there is. */
import { type ControlClient, RETURN_CODES, type Reply, type ResourceSnapshot } from '@udrbd/control';
import { CommandExit, EXIT_USAGE } from './command-io.js';

/** The engine ended an answer early and said why, or did not. */
export const answerRefused = (object: string, { info }: Pick<Reply, 'info'>): CommandExit =>
  new CommandExit(EXIT_USAGE, { stderr: [`${object}: error receiving config reply`, ...info, ''].join('\n') });

/**
 * All resources, or the one of that name.
 * @throws CommandExit when the engine does not say: that is not the same as that there are none
 */
export async function resourcesOf(
  { engine, object }: { readonly engine: ControlClient; readonly object: string },
  name?: string,
): Promise<readonly ResourceSnapshot[]> {
  const reply = await engine.request('snapshot', name === undefined ? {} : { resource: name });
  const resources = reply.code === RETURN_CODES.NO_ERROR.code ? reply.data?.resources : undefined;
  if (!Array.isArray(resources)) throw answerRefused(object, reply);
  return resources;
}
