import type { CommandIo } from '../command-io.js';
import type { Invocation } from '../command-line.js';
import type { Device } from '../device.js';
import type { Dialect } from '../dialect.js';

export interface CommandContext {
  readonly io: CommandIo;
  readonly invocation: Invocation;
  readonly dialect: Dialect;
  /** Devices to close when the command ends, however it ends. */
  readonly opened: Device[];
  /** Other files that are open, for the descriptor numbers in verbose output. */
  openFiles: number;
}

export interface Command {
  readonly name: string;
  /** Changes the meta-data: refused while an engine has the device attached. */
  readonly modifies: boolean;
  /** Is about one peer. */
  readonly wantsNodeId: boolean;
  /** Releases before 9.34 do not have it. */
  readonly since934?: true;
  run(context: CommandContext): Promise<number>;
}

/** Arguments beyond those a command takes are ignored, with a remark. */
export function ignoreSurplus(context: CommandContext, taken = 0): void {
  if (context.invocation.args.length > taken) context.io.stderr('Ignoring additional arguments\n');
}
