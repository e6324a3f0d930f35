// The io_uring interface of the kernel: numbers and structures. Source: include/uapi/linux/io_uring.h of Linux 6.12 and 7.2.
import { layout } from './layout.js';

/** Operations (SQE byte 0). */
export const IORING_OP = {
  NOP: 0,
  READV: 1,
  WRITEV: 2,
  FSYNC: 3,
  READ_FIXED: 4,
  WRITE_FIXED: 5,
  POLL_ADD: 6,
  POLL_REMOVE: 7,
  SENDMSG: 9,
  RECVMSG: 10,
  TIMEOUT: 11,
  TIMEOUT_REMOVE: 12,
  ACCEPT: 13,
  ASYNC_CANCEL: 14,
  LINK_TIMEOUT: 15,
  CONNECT: 16,
  FALLOCATE: 17,
  CLOSE: 19,
  READ: 22,
  WRITE: 23,
  SEND: 26,
  RECV: 27,
  SHUTDOWN: 34,
  MSG_RING: 40,
  URING_CMD: 46,
  SEND_ZC: 47,
  SENDMSG_ZC: 48,
} as const;

/** Set-up flags. */
export const IORING_SETUP = {
  CQSIZE: 1 << 3,
  CLAMP: 1 << 4,
  SUBMIT_ALL: 1 << 7,
  COOP_TASKRUN: 1 << 8,
  TASKRUN_FLAG: 1 << 9,
  SQE128: 1 << 10,
  SINGLE_ISSUER: 1 << 12,
  DEFER_TASKRUN: 1 << 13,
  NO_SQARRAY: 1 << 16,
} as const;

/** SQE flags (SQE byte 1). */
export const IOSQE = {
  FIXED_FILE: 1,
  IO_DRAIN: 2,
  IO_LINK: 4,
  IO_HARDLINK: 8,
  ASYNC: 16,
  BUFFER_SELECT: 32,
  CQE_SKIP_SUCCESS: 64,
} as const;

/** CQE flags. */
export const IORING_CQE_F = { BUFFER: 1, MORE: 2, SOCK_NONEMPTY: 4, NOTIF: 8 } as const;

/** `io_uring_enter` flags. */
export const IORING_ENTER = { GETEVENTS: 1, REGISTERED_RING: 16 } as const;

/** Bits of the SQ ring's flags word, written by the kernel. */
export const IORING_SQ = { NEED_WAKEUP: 1, CQ_OVERFLOW: 2, TASKRUN: 4 } as const;

/** Flags of TIMEOUT and LINK_TIMEOUT. */
export const IORING_TIMEOUT = { ABS: 1, UPDATE: 2, BOOTTIME: 4, REALTIME: 8, ETIME_SUCCESS: 32, MULTISHOT: 64 } as const;

/** Flags of ASYNC_CANCEL. */
export const IORING_ASYNC_CANCEL = { ALL: 1, FD: 2, ANY: 4, FD_FIXED: 8, USERDATA: 16 } as const;

/** `rw_flags` of READ and WRITE. */
export const RWF = { HIPRI: 1, DSYNC: 2, SYNC: 4, NOWAIT: 8 } as const;

/** `msg_flags` of SEND, RECV, SENDMSG, RECVMSG. WAITALL makes the ring complete only when all bytes are done. */
export const MSG = { PEEK: 2, DONTWAIT: 0x40, WAITALL: 0x100, NOSIGNAL: 0x4000, MORE: 0x8000 } as const;

/** poll(2) events. */
export const POLL = { IN: 1, PRI: 2, OUT: 4, ERR: 8, HUP: 16, RDHUP: 0x2000 } as const;

/** URING_CMD on a block device that discards (Linux 6.12). */
export const BLOCK_URING_CMD_DISCARD = 0x1200;

/** Submission queue entry, first 64 bytes. With SQE128 the command area goes on to byte 128. */
export const IO_URING_SQE = layout('io_uring_sqe', 64, {
  opcode: { type: 'u8', doc: 'IORING_OP' },
  flags: { type: 'u8', doc: 'IOSQE' },
  ioprio: { type: 'u16', doc: 'I/O priority, or flags of accept, send and recv' },
  fd: { type: 's32', doc: 'file descriptor, or index of a registered file' },
  off: { type: 'u64', doc: 'file offset, addr2, or cmd_op in its low half' },
  addr: { type: 'u64', doc: 'buffer or structure' },
  len: { type: 'u32', doc: 'bytes or elements' },
  op_flags: { type: 'u32', doc: 'flags of the operation' },
  user_data: { type: 'u64', doc: 'returned in the CQE' },
  buf_index: { type: 'u16', doc: 'registered buffer, or buffer group' },
  personality: { type: 'u16', doc: 'registered credentials' },
  splice_fd_in: { type: 's32', doc: 'also file_index, addr_len' },
  addr3: { type: 'u64', doc: 'also the start of the URING_CMD area' },
  pad2: { type: 'u64', doc: 'zero' },
});

/** Completion queue entry. */
export const IO_URING_CQE = layout('io_uring_cqe', 16, {
  user_data: { type: 'u64', doc: 'from the SQE' },
  res: { type: 's32', doc: 'result or -errno' },
  flags: { type: 'u32', doc: 'IORING_CQE_F' },
});

/** struct __kernel_timespec. */
export const KERNEL_TIMESPEC = layout('__kernel_timespec', 16, {
  tv_sec: { type: 'u64', doc: 'seconds' },
  tv_nsec: { type: 'u64', doc: 'nanoseconds below 1e9' },
});

/** struct iovec on 64-bit machines. */
export const IOVEC = layout('iovec', 16, {
  iov_base: { type: 'u64', doc: 'address' },
  iov_len: { type: 'u64', doc: 'bytes' },
});

/** struct msghdr on 64-bit machines. */
export const MSGHDR = layout('msghdr', 56, {
  msg_name: { type: 'u64', doc: 'address of a socket address, or 0' },
  msg_namelen: { type: 'u32', doc: 'its length' },
  pad0: { type: 'u32', doc: 'zero' },
  msg_iov: { type: 'u64', doc: 'address of the first iovec' },
  msg_iovlen: { type: 'u64', doc: 'number of iovecs' },
  msg_control: { type: 'u64', doc: 'ancillary data, or 0' },
  msg_controllen: { type: 'u64', doc: 'its length' },
  msg_flags: { type: 's32', doc: 'written by recvmsg' },
  pad1: { type: 'u32', doc: 'zero' },
});
