export * from './option-values.js';
export * from './options.js';
