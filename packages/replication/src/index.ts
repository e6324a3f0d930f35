/** The deterministic replication core: events in, effects out. */
export * from './core.js';
export * from './effects.js';
export * from './host.js';
export * from './proc-drbd.js';
export * from './requests.js';
export { Resource } from './resource.js';
export * from './snapshot.js';
export * from './state-view.js';
