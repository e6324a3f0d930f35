/* Files, block devices and eventfds, one function per system call. */
#include "binding.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define OFFSET_MAX SAFE_INTEGER_MAX

/* open(path, flags, mode) */
static napi_value open_file(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  char path[PATH_MAX];
  int64_t flags, mode;
  if (!args(env, info, 3, argv) || !arg_text(env, argv[0], "path", path, sizeof path) ||
      !arg_integer(env, argv[1], "flags", 0, INT32_MAX, &flags) || !arg_integer(env, argv[2], "mode", 0, 07777, &mode))
    return NULL;
  return result(env, open(path, (int)flags, (mode_t)mode));
}

/* close(fd) */
static napi_value close_file(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  int fd;
  if (!args(env, info, 1, argv) || !arg_fd(env, argv[0], &fd)) return NULL;
  return result(env, close(fd));
}

static napi_value transfer(napi_env env, napi_callback_info info, bool writing) {
  napi_value argv[5];
  int fd;
  uint8_t *data;
  size_t size, done = 0;
  int64_t position;
  if (!args(env, info, 5, argv) || !arg_fd(env, argv[0], &fd) || !arg_slice(env, argv[1], argv[2], argv[3], &data, &size) ||
      !arg_integer(env, argv[4], "position", 0, OFFSET_MAX, &position))
    return NULL;
  while (done < size) {
    ssize_t n = writing ? pwrite(fd, data + done, size - done, position + (off_t)done) : pread(fd, data + done, size - done, position + (off_t)done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return error_number(env, errno);
    if (n == 0) break;
    done += (size_t)n;
  }
  return number(env, (double)done);
}

/* pread(fd, bytes, offset, length, position): bytes read, fewer only at the end */
static napi_value pread_file(napi_env env, napi_callback_info info) {
  return transfer(env, info, false);
}

/* pwrite(fd, bytes, offset, length, position): length, or -errno even when a part was written */
static napi_value pwrite_file(napi_env env, napi_callback_info info) {
  return transfer(env, info, true);
}

/* fstat(fd): a FileStatus (native.ts), or -errno */
static napi_value stat_file(napi_env env, napi_callback_info info) {
  napi_value argv[1], out;
  int fd;
  struct stat st;
  if (!args(env, info, 1, argv) || !arg_fd(env, argv[0], &fd)) return NULL;
  if (fstat(fd, &st) != 0) return error_number(env, errno);
  if (napi_create_object(env, &out) != napi_ok || !put_number(env, out, "mode", st.st_mode) ||
      !put_number(env, out, "size", (double)st.st_size) || !put_number(env, out, "blocks", (double)st.st_blocks) ||
      !put_number(env, out, "rdevMajor", major(st.st_rdev)) || !put_number(env, out, "rdevMinor", minor(st.st_rdev)) ||
      !put_number(env, out, "ino", (double)st.st_ino))
    return NULL;
  return out;
}

/* dioAlign(fd): [memory, offset] alignment for O_DIRECT, [0, 0] = the kernel does not say; or -errno */
static napi_value dio_align(napi_env env, napi_callback_info info) {
  napi_value argv[1], out;
  int fd;
  /* struct statx by offset: stx_mask @0, stx_dio_mem_align @0x98, stx_dio_offset_align @0x9c; older headers lack the last two. */
  union {
    uint32_t word[64];
    uint64_t align;
  } stx = {{0}};
  const uint32_t dioalign = 0x2000;
  if (!args(env, info, 1, argv) || !arg_fd(env, argv[0], &fd)) return NULL;
  if (syscall(SYS_statx, fd, "", 0x1000 /* AT_EMPTY_PATH */, dioalign, &stx) != 0) return error_number(env, errno);
  bool known = (stx.word[0] & dioalign) != 0;
  if (napi_create_array_with_length(env, 2, &out) != napi_ok ||
      napi_set_element(env, out, 0, number(env, known ? stx.word[0x98 / 4] : 0)) != napi_ok ||
      napi_set_element(env, out, 1, number(env, known ? stx.word[0x9c / 4] : 0)) != napi_ok)
    return NULL;
  return out;
}

/* fallocate(fd, mode, offset, length) */
static napi_value allocate_file(napi_env env, napi_callback_info info) {
  napi_value argv[4];
  int fd;
  int64_t mode, offset, length;
  if (!args(env, info, 4, argv) || !arg_fd(env, argv[0], &fd) || !arg_integer(env, argv[1], "mode", 0, INT32_MAX, &mode) ||
      !arg_integer(env, argv[2], "offset", 0, OFFSET_MAX, &offset) || !arg_integer(env, argv[3], "length", 0, OFFSET_MAX, &length))
    return NULL;
  return result(env, fallocate(fd, (int)mode, offset, length));
}

/* ftruncate(fd, length) */
static napi_value truncate_file(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  int fd;
  int64_t length;
  if (!args(env, info, 2, argv) || !arg_fd(env, argv[0], &fd) || !arg_integer(env, argv[1], "length", 0, OFFSET_MAX, &length)) return NULL;
  return result(env, ftruncate(fd, length));
}

/* fsync(fd, dataOnly) */
static napi_value sync_file(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  int fd;
  bool data_only;
  if (!args(env, info, 2, argv) || !arg_fd(env, argv[0], &fd) || !arg_bool(env, argv[1], "dataOnly", &data_only)) return NULL;
  return result(env, data_only ? fdatasync(fd) : fsync(fd));
}

/* flock(fd, operation): -EAGAIN when it would wait and LOCK_NB is set */
static napi_value lock_file(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  int fd;
  int64_t operation;
  if (!args(env, info, 2, argv) || !arg_fd(env, argv[0], &fd) || !arg_integer(env, argv[1], "operation", 0, 15, &operation)) return NULL;
  return result(env, flock(fd, (int)operation));
}

/* blkGetSize(fd): bytes */
static napi_value blk_get_size(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  int fd;
  uint64_t bytes = 0;
  if (!args(env, info, 1, argv) || !arg_fd(env, argv[0], &fd)) return NULL;
  return ioctl(fd, BLKGETSIZE64, &bytes) != 0 ? error_number(env, errno) : number(env, (double)bytes);
}

static napi_value blk_get_int(napi_env env, napi_callback_info info, unsigned long request) {
  napi_value argv[1];
  int fd, value = 0;
  if (!args(env, info, 1, argv) || !arg_fd(env, argv[0], &fd)) return NULL;
  return ioctl(fd, request, &value) != 0 ? error_number(env, errno) : number(env, value);
}

static napi_value blk_logical(napi_env env, napi_callback_info info) {
  return blk_get_int(env, info, BLKSSZGET);
}

static napi_value blk_physical(napi_env env, napi_callback_info info) {
  return blk_get_int(env, info, BLKPBSZGET);
}

static napi_value blk_read_only(napi_env env, napi_callback_info info) {
  return blk_get_int(env, info, BLKROGET);
}

/* blkFlushBuffers(fd) */
static napi_value blk_flush(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  int fd;
  if (!args(env, info, 1, argv) || !arg_fd(env, argv[0], &fd)) return NULL;
  return result(env, ioctl(fd, BLKFLSBUF, 0));
}

static napi_value blk_range(napi_env env, napi_callback_info info, unsigned long request) {
  napi_value argv[3];
  int fd;
  int64_t offset, length;
  if (!args(env, info, 3, argv) || !arg_fd(env, argv[0], &fd) || !arg_integer(env, argv[1], "offset", 0, OFFSET_MAX, &offset) ||
      !arg_integer(env, argv[2], "length", 0, OFFSET_MAX, &length))
    return NULL;
  uint64_t range[2] = {(uint64_t)offset, (uint64_t)length};
  return result(env, ioctl(fd, request, range));
}

static napi_value blk_discard(napi_env env, napi_callback_info info) {
  return blk_range(env, info, BLKDISCARD);
}

static napi_value blk_zero_out(napi_env env, napi_callback_info info) {
  return blk_range(env, info, BLKZEROOUT);
}

/* eventfd(initial): blocking on purpose, so that a ring's READ on it waits */
static napi_value make_eventfd(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  int64_t initial;
  if (!args(env, info, 1, argv) || !arg_integer(env, argv[0], "initial", 0, UINT32_MAX, &initial)) return NULL;
  return result(env, eventfd((unsigned)initial, EFD_CLOEXEC));
}

/* eventfdWrite(fd, value): 0 or -errno */
static napi_value eventfd_write_value(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  int fd;
  int64_t value;
  if (!args(env, info, 2, argv) || !arg_fd(env, argv[0], &fd) || !arg_integer(env, argv[1], "value", 1, UINT32_MAX, &value)) return NULL;
  uint64_t counter = (uint64_t)value;
  ssize_t n = write(fd, &counter, sizeof counter);
  return n == sizeof counter ? number(env, 0) : error_number(env, n < 0 ? errno : EIO);
}

/* eventfdRead(fd): the counter, or -EAGAIN at once when it is 0 */
static napi_value eventfd_read_value(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  int fd;
  uint64_t counter = 0;
  if (!args(env, info, 1, argv) || !arg_fd(env, argv[0], &fd)) return NULL;
  struct pollfd pfd = {.fd = fd, .events = POLLIN};
  int ready = poll(&pfd, 1, 0);
  if (ready < 0) return error_number(env, errno);
  if (ready == 0) return error_number(env, EAGAIN);
  if (pfd.revents & POLLNVAL) return error_number(env, EBADF);
  ssize_t n = read(fd, &counter, sizeof counter);
  return n == sizeof counter ? number(env, (double)counter) : error_number(env, n < 0 ? errno : EINVAL);
}

const struct method file_methods[] = {{"open", open_file},
                                      {"close", close_file},
                                      {"pread", pread_file},
                                      {"pwrite", pwrite_file},
                                      {"fstat", stat_file},
                                      {"dioAlign", dio_align},
                                      {"fallocate", allocate_file},
                                      {"ftruncate", truncate_file},
                                      {"fsync", sync_file},
                                      {"flock", lock_file},
                                      {"blkGetSize", blk_get_size},
                                      {"blkLogicalBlockSize", blk_logical},
                                      {"blkPhysicalBlockSize", blk_physical},
                                      {"blkReadOnly", blk_read_only},
                                      {"blkFlushBuffers", blk_flush},
                                      {"blkDiscard", blk_discard},
                                      {"blkZeroOut", blk_zero_out},
                                      {"eventfd", make_eventfd},
                                      {"eventfdWrite", eventfd_write_value},
                                      {"eventfdRead", eventfd_read_value},
                                      {NULL, NULL}};
