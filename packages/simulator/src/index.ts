/** Whole clusters in one process under a seed. See docs/simulator.md. */

export { type LifeOptions, type LifeResult, runLife } from './life.js';
export { CANARIES, type Canary, drawPlan, type LifePlan } from './life-plan.js';
export type { CoreFactory } from './world.js';
