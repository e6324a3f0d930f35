/** drbdadm as a function, for whoever calls it in process. */
export { asBytes, toBuffer } from './bytes.js';
export type { AdmIo, CommandIo, CommandRun, Spawn, SpawnResult } from './io.js';
export { nodeIo } from './node-io.js';
export { run } from './run.js';
