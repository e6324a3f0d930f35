export * from './effects.js';
export * from './host.js';
export * from './requests.js';
export * from './state-view.js';
export * from './core.js';
export * from './snapshot.js';
