/** The NBD server protocol, without I/O. */
export * from './nbd-constants.js';
export * from './nbd-export.js';
export * from './nbd-request.js';
export * from './nbd-session.js';
