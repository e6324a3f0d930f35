/* The kernel interface as this addon needs it, declared here so that it builds on hosts with older headers.
 * Source of names, offsets and numbers: include/uapi/linux/io_uring.h and ublk_cmd.h of Linux 6.12 and 7.2. */
#ifndef UBLK_NAPI_UAPI_H
#define UBLK_NAPI_UAPI_H

#include <stdint.h>

#define NR_io_uring_setup 425
#define NR_io_uring_enter 426
#define NR_io_uring_register 427

#define OFF_SQ_RING 0ULL
#define OFF_CQ_RING 0x8000000ULL
#define OFF_SQES 0x10000000ULL

#define SETUP_CQSIZE (1U << 3)
#define SETUP_SQE128 (1U << 10)
#define SETUP_CQE32 (1U << 11)
#define SETUP_NO_MMAP (1U << 14)
#define SETUP_REGISTERED_FD_ONLY (1U << 15)
#define SETUP_SQPOLL (1U << 1)
/* Bits after which the queues would not look as the TypeScript side expects. */
#define SETUP_UNSUPPORTED (SETUP_CQE32 | SETUP_NO_MMAP | SETUP_REGISTERED_FD_ONLY | SETUP_SQPOLL | (1U << 18) | (1U << 19) | (1U << 20))
#define FEAT_SINGLE_MMAP 1U

#define ENTER_EXT_ARG 8U

enum {
  REGISTER_BUFFERS = 0,
  UNREGISTER_BUFFERS = 1,
  REGISTER_FILES = 2,
  UNREGISTER_FILES = 3,
  REGISTER_EVENTFD = 4,
  REGISTER_FILES_UPDATE = 6,
  REGISTER_PROBE = 8,
  REGISTER_IOWQ_MAX_WORKERS = 19,
  REGISTER_RING_FDS = 20,
  UNREGISTER_RING_FDS = 21,
  REGISTER_SYNC_CANCEL = 24
};

struct io_sqring_offsets_ {
  uint32_t head, tail, ring_mask, ring_entries, flags, dropped, array, resv1;
  uint64_t user_addr;
};
struct io_cqring_offsets_ {
  uint32_t head, tail, ring_mask, ring_entries, overflow, cqes, flags, resv1;
  uint64_t user_addr;
};
struct io_uring_params_ {
  uint32_t sq_entries, cq_entries, flags, sq_thread_cpu, sq_thread_idle, features, wq_fd, resv[3];
  struct io_sqring_offsets_ sq_off;
  struct io_cqring_offsets_ cq_off;
};
struct io_uring_sqe_ {
  uint8_t opcode, flags;
  uint16_t ioprio;
  int32_t fd;
  uint64_t off, addr;
  uint32_t len, op_flags;
  uint64_t user_data;
  uint16_t buf_index, personality;
  int32_t splice_fd_in;
  uint64_t addr3, pad2;
};
struct io_uring_cqe_ {
  uint64_t user_data;
  int32_t res;
  uint32_t flags;
};
struct timespec64_ {
  int64_t tv_sec, tv_nsec;
};
struct getevents_arg_ {
  uint64_t sigmask;
  uint32_t sigmask_sz, pad;
  uint64_t ts;
};
struct sync_cancel_ {
  uint64_t addr;
  int32_t fd;
  uint32_t flags;
  struct timespec64_ timeout;
  uint8_t opcode, pad[7];
  uint64_t pad2[3];
};
struct files_update_ {
  uint32_t offset, resv;
  uint64_t fds;
};
struct rsrc_update_ {
  uint32_t offset, resv;
  uint64_t data;
};
struct probe_op_ {
  uint8_t op, resv;
  uint16_t flags;
  uint32_t resv2;
};
struct probe_ {
  uint8_t last_op, ops_len;
  uint16_t resv;
  uint32_t resv2[3];
  struct probe_op_ ops[256];
};

struct ublksrv_ctrl_cmd_ {
  uint32_t dev_id;
  uint16_t queue_id, len;
  uint64_t addr, data;
  uint16_t dev_path_len, pad;
  uint32_t reserved;
};
struct ublksrv_ctrl_dev_info_ {
  uint16_t nr_hw_queues, queue_depth, state, pad0;
  uint32_t max_io_buf_bytes, dev_id;
  int32_t ublksrv_pid;
  uint32_t pad1;
  uint64_t flags, ublksrv_flags;
  uint32_t owner_uid, owner_gid;
  uint64_t reserved1, reserved2;
};
struct ublksrv_io_desc_ {
  uint32_t op_flags, nr_sectors;
  uint64_t start_sector, addr;
};
struct ublksrv_io_cmd_ {
  uint16_t q_id, tag;
  int32_t result;
  uint64_t addr;
};
/* Nested as the kernel declares it, so that the compiler, not we, places the blocks. */
struct ublk_params_ {
  uint32_t len, types;
  struct {
    uint32_t attrs;
    uint8_t logical_bs_shift, physical_bs_shift, io_opt_shift, io_min_shift;
    uint32_t max_sectors, chunk_sectors;
    uint64_t dev_sectors, virt_boundary_mask;
  } basic;
  struct {
    uint32_t discard_alignment, discard_granularity, max_discard_sectors, max_write_zeroes_sectors;
    uint16_t max_discard_segments, reserved0;
  } discard;
  struct {
    uint32_t char_major, char_minor, disk_major, disk_minor;
  } devt;
  struct {
    uint32_t max_open_zones, max_active_zones, max_zone_append_sectors;
    uint8_t reserved[20];
  } zoned;
  struct {
    uint32_t alignment;
    uint8_t pad[4];
  } dma;
  struct {
    uint64_t seg_boundary_mask;
    uint32_t max_segment_size;
    uint16_t max_segments;
    uint8_t pad[2];
  } seg;
  struct {
    uint32_t flags;
    uint16_t max_integrity_segments;
    uint8_t interval_exp, metadata_size, pi_offset, csum_type, tag_size, pad[5];
  } integrity;
};

_Static_assert(sizeof(struct io_uring_params_) == 120, "io_uring_params");
_Static_assert(sizeof(struct io_uring_sqe_) == 64, "io_uring_sqe");
_Static_assert(sizeof(struct io_uring_cqe_) == 16, "io_uring_cqe");
_Static_assert(sizeof(struct sync_cancel_) == 64, "io_uring_sync_cancel_reg");
_Static_assert(sizeof(struct ublksrv_ctrl_cmd_) == 32, "ublksrv_ctrl_cmd");
_Static_assert(sizeof(struct ublksrv_ctrl_dev_info_) == 64, "ublksrv_ctrl_dev_info");
_Static_assert(sizeof(struct ublksrv_io_desc_) == 24, "ublksrv_io_desc");
_Static_assert(sizeof(struct ublksrv_io_cmd_) == 16, "ublksrv_io_cmd");
_Static_assert(sizeof(struct ublk_params_) == 152, "ublk_params");
_Static_assert(sizeof(void *) == 8, "64-bit machines only");

#endif
