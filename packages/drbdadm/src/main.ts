/** The executable: drbdadm on the real terminal, files and exit status. */
import { asBytes } from './bytes.js';
import { nodeIo } from './node-io.js';
import { run } from './run.js';

process.exitCode = await run(process.argv.slice(2).map(asBytes), nodeIo());
