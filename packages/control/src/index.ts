export * from './return-codes.js';
export * from './states.js';
