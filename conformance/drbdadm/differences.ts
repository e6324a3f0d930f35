/** Where our output is meant to differ from the recordings, and why. */

const CRASH = 'stock dies of a signal here; ours gives a message and an exit code, or the result of drbdsetup';
const ENGINE = 'stock asks for a kernel module and finds none; ours always has its engine, and a version to report';
const LABEL = 'stock reads the label of its last stage from behind the table, and works the stages of a failed run off twice';

export const DIFFERENCES: Readonly<Record<string, string>> = {
  'cli: dashdash-overwrite': 'older guides promote this way; stock 9 drops the option without a word, ours takes it for --force',
  'cli: version-no-module': ENGINE,
  'cli: require-module-none': ENGINE,
  'errors: host-no-address': CRASH,
  'errors: host-no-address-up': CRASH,
  'errors: conn-by-address-unknown': CRASH,
  'execution: adjust wp ok': LABEL,
  'execution: adjust wp new-minor fails': LABEL,
  'execution: adjust wp attach fails': LABEL,
  'matrix-08-tiebreaker@charlie: outdate tb': CRASH,
  'matrix-08-tiebreaker@charlie: outdate tb/0': CRASH,
  'matrix-08-tiebreaker@charlie: outdate all': CRASH,
};
