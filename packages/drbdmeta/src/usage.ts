import type { Dialect } from './dialect.js';

/** The usage text; blanks at line ends are the stock tool's. */
export const usage = ({ knows934 }: Dialect): string => `
USAGE: drbdmeta [--force]${knows934 ? ' [--quiet]' : ''} DEVICE FORMAT [FORMAT ARGS...] COMMAND [CMD ARGS...]

FORMATS:
  v06 minor
  v07 device index
  v08 device index
  v09 device index

COMMANDS:
  get-gi --node-id {val} 
  show-gi --node-id {val} 
  dump-md 
${knows934 ? '  dump-superblock [--output-format={binary,hex,json}]\n  hexdump-superblock \n' : ''}  restore-md file
  verify-dump file
  apply-al 
  wipe-md 
  outdate 
  invalidate 
  dstate 
  check-resize 
  create-md ${knows934 ? '[--effective-size {val}] [--diskful-peers {val}] ' : ''}[--peer-max-bio-size {val}] [--al-stripes {val}] [--al-stripe-size-kB {val}]${knows934 ? ' [--bitmap-block-size {val}]' : ''} {max_peers}
  forget-peer --node-id {val} 
${knows934 ? '  repair-md [--tentative]\n' : ''}`;
