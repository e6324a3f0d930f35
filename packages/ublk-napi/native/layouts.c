/* The compiler's view of the structures whose tables the TypeScript side keeps; compared when the package is loaded. */
#include "binding.h"
#include "uapi.h"

#include <sys/socket.h>
#include <sys/uio.h>

struct place {
  const char *name;
  size_t offset;
};
struct shape {
  const char *name;
  size_t size;
  const struct place *places;
};

#define AT(type, field) {#field, offsetof(type, field)}
#define IN(type, name, field) {name, offsetof(type, field)}
#define END {NULL, 0}

static const struct place sqe[] = {AT(struct io_uring_sqe_, opcode), AT(struct io_uring_sqe_, flags), AT(struct io_uring_sqe_, ioprio),
                                   AT(struct io_uring_sqe_, fd), AT(struct io_uring_sqe_, off), AT(struct io_uring_sqe_, addr),
                                   AT(struct io_uring_sqe_, len), AT(struct io_uring_sqe_, op_flags), AT(struct io_uring_sqe_, user_data),
                                   AT(struct io_uring_sqe_, buf_index), AT(struct io_uring_sqe_, personality),
                                   AT(struct io_uring_sqe_, splice_fd_in), AT(struct io_uring_sqe_, addr3), AT(struct io_uring_sqe_, pad2), END};
static const struct place cqe[] = {AT(struct io_uring_cqe_, user_data), AT(struct io_uring_cqe_, res), AT(struct io_uring_cqe_, flags), END};
static const struct place timespec[] = {AT(struct timespec64_, tv_sec), AT(struct timespec64_, tv_nsec), END};
static const struct place iovec[] = {AT(struct iovec, iov_base), AT(struct iovec, iov_len), END};
static const struct place msghdr[] = {AT(struct msghdr, msg_name), AT(struct msghdr, msg_namelen), {"pad0", 12}, AT(struct msghdr, msg_iov),
                                      AT(struct msghdr, msg_iovlen), AT(struct msghdr, msg_control), AT(struct msghdr, msg_controllen),
                                      AT(struct msghdr, msg_flags), {"pad1", 52}, END};
#define C struct ublksrv_ctrl_cmd_
static const struct place ctrl_cmd[] = {AT(C, dev_id), AT(C, queue_id), AT(C, len), AT(C, addr), AT(C, data), AT(C, dev_path_len),
                                        AT(C, pad), AT(C, reserved), END};
#define I struct ublksrv_ctrl_dev_info_
static const struct place dev_info[] = {AT(I, nr_hw_queues), AT(I, queue_depth), AT(I, state), AT(I, pad0), AT(I, max_io_buf_bytes),
                                        AT(I, dev_id), AT(I, ublksrv_pid), AT(I, pad1), AT(I, flags), AT(I, ublksrv_flags), AT(I, owner_uid),
                                        AT(I, owner_gid), AT(I, reserved1), AT(I, reserved2), END};
#define D struct ublksrv_io_desc_
static const struct place io_desc[] = {AT(D, op_flags), AT(D, nr_sectors), AT(D, start_sector), AT(D, addr), END};
#define O struct ublksrv_io_cmd_
static const struct place io_cmd[] = {AT(O, q_id), AT(O, tag), AT(O, result), AT(O, addr), END};
#define P struct ublk_params_
static const struct place params[] = {
    AT(P, len), AT(P, types), IN(P, "attrs", basic.attrs), IN(P, "logical_bs_shift", basic.logical_bs_shift),
    IN(P, "physical_bs_shift", basic.physical_bs_shift), IN(P, "io_opt_shift", basic.io_opt_shift),
    IN(P, "io_min_shift", basic.io_min_shift), IN(P, "max_sectors", basic.max_sectors), IN(P, "chunk_sectors", basic.chunk_sectors),
    IN(P, "dev_sectors", basic.dev_sectors), IN(P, "virt_boundary_mask", basic.virt_boundary_mask),
    IN(P, "discard_alignment", discard.discard_alignment), IN(P, "discard_granularity", discard.discard_granularity),
    IN(P, "max_discard_sectors", discard.max_discard_sectors), IN(P, "max_write_zeroes_sectors", discard.max_write_zeroes_sectors),
    IN(P, "max_discard_segments", discard.max_discard_segments), IN(P, "discard_reserved", discard.reserved0),
    IN(P, "char_major", devt.char_major), IN(P, "char_minor", devt.char_minor), IN(P, "disk_major", devt.disk_major),
    IN(P, "disk_minor", devt.disk_minor), IN(P, "max_open_zones", zoned.max_open_zones),
    IN(P, "max_active_zones", zoned.max_active_zones), IN(P, "max_zone_append_sectors", zoned.max_zone_append_sectors),
    IN(P, "zoned_reserved", zoned.reserved), IN(P, "dma_alignment", dma.alignment), IN(P, "dma_pad", dma.pad), {"pad_seg", 116},
    IN(P, "seg_boundary_mask", seg.seg_boundary_mask), IN(P, "max_segment_size", seg.max_segment_size),
    IN(P, "max_segments", seg.max_segments), IN(P, "seg_pad", seg.pad), IN(P, "integrity_flags", integrity.flags),
    IN(P, "max_integrity_segments", integrity.max_integrity_segments), IN(P, "interval_exp", integrity.interval_exp),
    IN(P, "metadata_size", integrity.metadata_size), IN(P, "pi_offset", integrity.pi_offset), IN(P, "csum_type", integrity.csum_type),
    IN(P, "tag_size", integrity.tag_size), IN(P, "integrity_pad", integrity.pad), END};

static const struct shape shapes[] = {{"io_uring_sqe", sizeof(struct io_uring_sqe_), sqe},
                                      {"io_uring_cqe", sizeof(struct io_uring_cqe_), cqe},
                                      {"__kernel_timespec", sizeof(struct timespec64_), timespec},
                                      {"iovec", sizeof(struct iovec), iovec},
                                      {"msghdr", sizeof(struct msghdr), msghdr},
                                      {"ublksrv_ctrl_cmd", sizeof(C), ctrl_cmd},
                                      {"ublksrv_ctrl_dev_info", sizeof(I), dev_info},
                                      {"ublksrv_io_desc", sizeof(D), io_desc},
                                      {"ublksrv_io_cmd", sizeof(O), io_cmd},
                                      {"ublk_params", sizeof(P), params}};

/* layouts(): { name: { size, at: { field: offset } } } */
static napi_value layouts(napi_env env, napi_callback_info info) {
  (void)info;
  napi_value all;
  if (napi_create_object(env, &all) != napi_ok) return NULL;
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    napi_value one, at;
    if (napi_create_object(env, &one) != napi_ok || napi_create_object(env, &at) != napi_ok) return NULL;
    for (const struct place *p = shapes[i].places; p->name != NULL; p++)
      if (!put_number(env, at, p->name, (double)p->offset)) return NULL;
    if (!put_number(env, one, "size", (double)shapes[i].size) || !put(env, one, "at", at) || !put(env, all, shapes[i].name, one)) return NULL;
  }
  return all;
}

const struct method layout_methods[] = {{"layouts", layouts}, {NULL, NULL}};
