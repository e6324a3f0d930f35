/** Where our output is meant to differ from the recordings, and why. */
export const DIFFERENCES: Readonly<Record<string, string>> = {};
