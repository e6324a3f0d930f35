import { setFlagsFromString } from 'node:v8';

/**
 * Has V8 put small functions into their callers however large these become. A number that is no small integer (an address, a place on a
 * large disk) is handed to any other function as an object on the heap: at each write, where nothing may be allocated.
 */
export function inlineSmallFunctions(): void {
  setFlagsFromString('--max-inlined-bytecode-size-small=250');
  setFlagsFromString('--max-inlined-bytecode-size-absolute=20000');
}
