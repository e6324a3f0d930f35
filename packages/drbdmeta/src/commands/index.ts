// All commands by name.

import { applyAl } from './apply-al.js';
import { checkResize } from './check-resize.js';
import type { Command } from './command.js';
import { createMd } from './create-md.js';
import { dstate, invalidate, outdate } from './disk-state.js';
import { dumpMd } from './dump-md.js';
import { dumpSuperblock, hexdumpSuperblock } from './dump-superblock.js';
import { forgetPeer, repairMd } from './forget-peer.js';
import { getGi, readDevUuid, setGi, showGi, writeDevUuid } from './generation-identifiers.js';
import { restoreMd, verifyDump } from './restore-md.js';
import { wipeMd } from './wipe-md.js';

export type { Command } from './command.js';

export const COMMANDS: readonly Command[] = [
  getGi,
  showGi,
  dumpMd,
  restoreMd,
  verifyDump,
  applyAl,
  wipeMd,
  outdate,
  invalidate,
  dstate,
  readDevUuid,
  writeDevUuid,
  setGi,
  checkResize,
  createMd,
  forgetPeer,
  repairMd,
  dumpSuperblock,
  hexdumpSuperblock,
];
