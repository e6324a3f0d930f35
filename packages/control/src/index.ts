/** The language between drbdsetup and the engine. The zod schemas stand apart in `@udrbd/control/schemas`, for zod is slow to load. */
export * from './client.js';
export * from './metrics.js';
export * from './ndjson.js';
export * from './notifications.js';
export * from './options.js';
export * from './progress.js';
export * from './promotion.js';
export * from './requests.js';
export * from './return-codes.js';
export * from './snapshot.js';
export * from './states.js';
