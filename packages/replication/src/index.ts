/** The deterministic replication core: events in, effects out. */
export * from './core.js';
export * from './digests.js';
export * from './effects.js';
export type { Generations } from './generations.js';
export * from './host.js';
export * from './proc-drbd.js';
export * from './requests.js';
export { Resource } from './resource.js';
export * from './resync-order.js';
export { ShortList } from './short-list.js';
export * from './snapshot.js';
export * from './state-view.js';
export { type SyncHandshakeInput, type SyncHandshakeOutcome, syncHandshake } from './sync-handshake.js';
