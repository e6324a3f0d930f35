/** Of the engine, as `version` and the metrics tell it. */
export const ENGINE_VERSION = '0.1.0';
