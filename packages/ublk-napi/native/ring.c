/* io_uring: set-up, enter, register. Queues are handed to JavaScript as memory; nothing here runs per operation. */
#include "binding.h"
#include "uapi.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static int ring_register(int fd, unsigned opcode, const void *arg, unsigned count) {
  long ret = syscall(NR_io_uring_register, fd, opcode, arg, count);
  return ret < 0 ? -errno : (int)ret;
}

void ring_shut(int fd) {
  /* Cancel everything first: after close the kernel would go on using the buffers for a while. Refused from another thread. */
  struct sync_cancel_ cancel = {.fd = -1, .flags = 1 /* ALL */ | 4 /* ANY */, .timeout = {.tv_sec = 1}};
  ring_register(fd, REGISTER_SYNC_CANCEL, &cancel, 1);
  close(fd);
}

/* ringSetup(entries, cqEntries, flags): a RingMapping (see native.ts), or -errno. */
static napi_value ring_setup(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  int64_t entries, cq_entries, flags;
  if (!args(env, info, 3, argv) || !arg_integer(env, argv[0], "entries", 1, 32768, &entries) ||
      !arg_integer(env, argv[1], "cqEntries", 0, 65536, &cq_entries) || !arg_integer(env, argv[2], "flags", 0, UINT32_MAX, &flags))
    return NULL;
  if (flags & SETUP_UNSUPPORTED) return error_number(env, EOPNOTSUPP);
  struct state *state = state_of(env);
  struct io_uring_params_ p = {.flags = (uint32_t)flags, .cq_entries = (uint32_t)cq_entries};
  int fd = (int)syscall(NR_io_uring_setup, (unsigned)entries, &p);
  if (fd < 0) return error_number(env, errno);
  if (!(p.features & FEAT_SINGLE_MMAP)) {
    close(fd);
    return error_number(env, ENOSYS);
  }
  size_t sq_bytes = p.sq_off.array + p.sq_entries * sizeof(uint32_t);
  size_t cq_bytes = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe_);
  size_t ring_bytes = sq_bytes > cq_bytes ? sq_bytes : cq_bytes;
  size_t sqe_bytes = (size_t)p.sq_entries * (p.flags & SETUP_SQE128 ? 128 : 64);
  void *ring = mmap(NULL, ring_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, OFF_SQ_RING);
  void *sqes = ring == MAP_FAILED ? MAP_FAILED : mmap(NULL, sqe_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, OFF_SQES);
  if (sqes == MAP_FAILED || !state_add_ring(state, fd)) {
    int errnum = sqes == MAP_FAILED ? errno : ENOMEM;
    if (ring != MAP_FAILED) munmap(ring, ring_bytes);
    if (sqes != MAP_FAILED) munmap(sqes, sqe_bytes);
    close(fd);
    return error_number(env, errnum);
  }
  napi_value out, ring_buffer = region_wrap(env, ring, ring_bytes, ring_bytes);
  if (ring_buffer == NULL) munmap(sqes, sqe_bytes);
  napi_value sqe_buffer = ring_buffer == NULL ? NULL : region_wrap(env, sqes, sqe_bytes, sqe_bytes);
  if (sqe_buffer == NULL || napi_create_object(env, &out) != napi_ok || !put(env, out, "ring", ring_buffer) ||
      !put(env, out, "sqes", sqe_buffer) || !put_number(env, out, "fd", fd) || !put_number(env, out, "flags", p.flags) ||
      !put_number(env, out, "features", p.features) || !put_number(env, out, "sqEntries", p.sq_entries) ||
      !put_number(env, out, "cqEntries", p.cq_entries) || !put_number(env, out, "sqHead", p.sq_off.head) ||
      !put_number(env, out, "sqTail", p.sq_off.tail) || !put_number(env, out, "sqFlags", p.sq_off.flags) ||
      !put_number(env, out, "sqDropped", p.sq_off.dropped) || !put_number(env, out, "sqArray", p.sq_off.array) ||
      !put_number(env, out, "cqHead", p.cq_off.head) || !put_number(env, out, "cqTail", p.cq_off.tail) ||
      !put_number(env, out, "cqFlags", p.cq_off.flags) || !put_number(env, out, "cqOverflow", p.cq_off.overflow) ||
      !put_number(env, out, "cqes", p.cq_off.cqes)) {
    state_remove_ring(state, fd);
    close(fd);
    return NULL;
  }
  return out;
}

/* ringEnter(fd, toSubmit, minComplete, flags, timeoutUs): the hot call. timeoutUs < 0 = no limit. All small integers: a number that is
 * none would be allocated on V8's heap at each call. */
static napi_value ring_enter(napi_env env, napi_callback_info info) {
  napi_value argv[5];
  size_t count = 5;
  int32_t fd, to_submit, min_complete, flags, us;
  if (napi_get_cb_info(env, info, &count, argv, NULL, NULL) != napi_ok || count < 5 ||
      napi_get_value_int32(env, argv[0], &fd) != napi_ok || napi_get_value_int32(env, argv[1], &to_submit) != napi_ok ||
      napi_get_value_int32(env, argv[2], &min_complete) != napi_ok || napi_get_value_int32(env, argv[3], &flags) != napi_ok ||
      napi_get_value_int32(env, argv[4], &us) != napi_ok) {
    napi_throw_type_error(env, NULL, "ringEnter needs five numbers");
    return NULL;
  }
  /* The extended argument is ours alone: a flag from outside would make the kernel read a pointer we did not give. */
  unsigned enter_flags = (unsigned)flags & (1U | 2U | 4U | 16U);
  long ret;
  if (us >= 0) {
    struct timespec64_ ts = {.tv_sec = us / 1000000, .tv_nsec = (us % 1000000) * 1000L};
    struct getevents_arg_ arg = {.sigmask_sz = 8, .ts = (uint64_t)(uintptr_t)&ts};
    ret = syscall(NR_io_uring_enter, fd, (unsigned)to_submit, (unsigned)min_complete, enter_flags | ENTER_EXT_ARG, &arg, sizeof arg);
  } else {
    ret = syscall(NR_io_uring_enter, fd, (unsigned)to_submit, (unsigned)min_complete, enter_flags, NULL, (size_t)0);
  }
  napi_value out;
  return napi_create_int32(env, ret < 0 ? -errno : (int32_t)ret, &out) == napi_ok ? out : NULL;
}

/* ringRegisterSelf(fd): index under which this thread may enter the ring without a file look-up, or -errno. */
static napi_value ring_register_self(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  int fd;
  if (!args(env, info, 1, argv) || !arg_fd(env, argv[0], &fd)) return NULL;
  struct rsrc_update_ update = {.offset = UINT32_MAX, .data = (uint64_t)fd};
  int ret = ring_register(fd, REGISTER_RING_FDS, &update, 1);
  return number(env, ret == 1 ? (double)update.offset : ret < 0 ? ret : -EINVAL);
}

/* ringClose(fd, registeredIndex): -EBADF for a descriptor that is no ring of this environment. registeredIndex -1 = none. */
static napi_value ring_close(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  int fd;
  int64_t index;
  if (!args(env, info, 2, argv) || !arg_fd(env, argv[0], &fd) || !arg_integer(env, argv[1], "registeredIndex", -1, 15, &index)) return NULL;
  if (!state_remove_ring(state_of(env), fd)) return error_number(env, EBADF);
  if (index >= 0) {
    /* Else the thread itself would keep the ring alive. */
    struct rsrc_update_ update = {.offset = (uint32_t)index};
    ring_register(fd, UNREGISTER_RING_FDS, &update, 1);
  }
  ring_shut(fd);
  return number(env, 0);
}

/* ringRegisterEventfd(fd, eventfd) */
static napi_value ring_register_eventfd(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  int fd, eventfd;
  if (!args(env, info, 2, argv) || !arg_fd(env, argv[0], &fd) || !arg_fd(env, argv[1], &eventfd)) return NULL;
  return number(env, ring_register(fd, REGISTER_EVENTFD, &eventfd, 1));
}

/* ringRegisterBuffers(fd, Float64Array of address, length, ...) */
static napi_value ring_register_buffers(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  int fd;
  double *pairs;
  size_t count;
  if (!args(env, info, 2, argv) || !arg_fd(env, argv[0], &fd) || !arg_f64s(env, argv[1], "ranges", &pairs, &count)) return NULL;
  if (count == 0 || count % 2 != 0 || count > 2 * 16384) return error_number(env, EINVAL);
  struct iovec *iov = malloc(count / 2 * sizeof *iov);
  if (iov == NULL) return error_number(env, ENOMEM);
  int ret = 0;
  for (size_t i = 0; i < count && ret == 0; i++)
    if (!(pairs[i] >= 0 && pairs[i] <= SAFE_INTEGER_MAX)) ret = -EINVAL;
  for (size_t i = 0; i < count / 2 && ret == 0; i++)
    iov[i] = (struct iovec){.iov_base = (void *)(uintptr_t)pairs[2 * i], .iov_len = (size_t)pairs[2 * i + 1]};
  if (ret == 0) ret = ring_register(fd, REGISTER_BUFFERS, iov, (unsigned)(count / 2));
  free(iov);
  return number(env, ret);
}

static napi_value unregister(napi_env env, napi_callback_info info, unsigned opcode) {
  napi_value argv[1];
  int fd;
  if (!args(env, info, 1, argv) || !arg_fd(env, argv[0], &fd)) return NULL;
  return number(env, ring_register(fd, opcode, NULL, 0));
}

static napi_value ring_unregister_buffers(napi_env env, napi_callback_info info) {
  return unregister(env, info, UNREGISTER_BUFFERS);
}

static napi_value ring_unregister_files(napi_env env, napi_callback_info info) {
  return unregister(env, info, UNREGISTER_FILES);
}

/* ringRegisterFiles(fd, Int32Array) */
static napi_value ring_register_files(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  int fd;
  int32_t *fds;
  size_t count;
  if (!args(env, info, 2, argv) || !arg_fd(env, argv[0], &fd) || !arg_i32s(env, argv[1], "fds", &fds, &count)) return NULL;
  if (count == 0 || count > 32768) return error_number(env, EINVAL);
  return number(env, ring_register(fd, REGISTER_FILES, fds, (unsigned)count));
}

/* ringUpdateFiles(fd, offset, Int32Array): number replaced, or -errno */
static napi_value ring_update_files(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  int fd;
  int64_t offset;
  int32_t *fds;
  size_t count;
  if (!args(env, info, 3, argv) || !arg_fd(env, argv[0], &fd) || !arg_integer(env, argv[1], "offset", 0, 32768, &offset) ||
      !arg_i32s(env, argv[2], "fds", &fds, &count))
    return NULL;
  if (count == 0 || count > 32768) return error_number(env, EINVAL);
  struct files_update_ update = {.offset = (uint32_t)offset, .fds = (uint64_t)(uintptr_t)fds};
  return number(env, ring_register(fd, REGISTER_FILES_UPDATE, &update, (unsigned)count));
}

/* ringWorkers(fd, bounded, unbounded) */
static napi_value ring_workers(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  int fd;
  int64_t bounded, unbounded;
  if (!args(env, info, 3, argv) || !arg_fd(env, argv[0], &fd) || !arg_integer(env, argv[1], "bounded", 0, INT32_MAX, &bounded) ||
      !arg_integer(env, argv[2], "unbounded", 0, INT32_MAX, &unbounded))
    return NULL;
  uint32_t limits[2] = {(uint32_t)bounded, (uint32_t)unbounded};
  return number(env, ring_register(fd, REGISTER_IOWQ_MAX_WORKERS, limits, 2));
}

/* ringProbe(fd): Uint8Array with one byte per operation, bit 0 = supported; or -errno */
static napi_value ring_probe(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  int fd;
  if (!args(env, info, 1, argv) || !arg_fd(env, argv[0], &fd)) return NULL;
  struct probe_ probe;
  memset(&probe, 0, sizeof probe);
  int ret = ring_register(fd, REGISTER_PROBE, &probe, 256);
  if (ret < 0) return number(env, ret);
  uint8_t flags[256];
  size_t count = probe.ops_len;
  for (size_t i = 0; i < count; i++) flags[i] = (uint8_t)probe.ops[i].flags;
  return copy_bytes(env, flags, count);
}

const struct method ring_methods[] = {{"ringSetup", ring_setup},
                                      {"ringEnter", ring_enter},
                                      {"ringClose", ring_close},
                                      {"ringRegisterSelf", ring_register_self},
                                      {"ringRegisterEventfd", ring_register_eventfd},
                                      {"ringRegisterBuffers", ring_register_buffers},
                                      {"ringUnregisterBuffers", ring_unregister_buffers},
                                      {"ringRegisterFiles", ring_register_files},
                                      {"ringUpdateFiles", ring_update_files},
                                      {"ringUnregisterFiles", ring_unregister_files},
                                      {"ringWorkers", ring_workers},
                                      {"ringProbe", ring_probe},
                                      {NULL, NULL}};
