/* Memory for buffers, descriptors of ublk queues, and what the process asks of memory management. */
#include "binding.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

static size_t round_to_page(size_t bytes) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  return (bytes + page - 1) / page * page;
}

/* mmapAnonymous(lengthBytes, lock): { buffer, address, lockErrno }, or -errno. The memory is zeroed and page aligned. */
static napi_value mmap_anonymous(napi_env env, napi_callback_info info) {
  napi_value argv[2], out;
  int64_t length;
  bool lock;
  if (!args(env, info, 2, argv) || !arg_integer(env, argv[0], "lengthBytes", 1, 1LL << 40, &length) || !arg_bool(env, argv[1], "lock", &lock))
    return NULL;
  size_t mapped = round_to_page((size_t)length);
  void *address = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) return error_number(env, errno);
  /* A fork while the kernel writes into these pages must not turn them copy-on-write under its hands. */
  madvise(address, mapped, MADV_DONTFORK);
  int lock_errno = 0;
  if (lock && mlock(address, mapped) != 0) {
    lock_errno = errno;
    madvise(address, mapped, MADV_POPULATE_WRITE);
  }
  napi_value buffer = region_wrap(env, address, mapped, (size_t)length);
  if (buffer == NULL || napi_create_object(env, &out) != napi_ok || !put(env, out, "buffer", buffer) ||
      !put_number(env, out, "address", (double)(uintptr_t)address) || !put_number(env, out, "lockErrno", lock_errno))
    return NULL;
  return out;
}

/* mmapDescriptors(fd, lengthBytes, offset): the read-only request descriptors of a ublk queue as an ArrayBuffer, or -errno.
 * Writing to them from JavaScript ends the process with a signal. */
static napi_value mmap_descriptors(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  int fd;
  int64_t length, offset;
  if (!args(env, info, 3, argv) || !arg_fd(env, argv[0], &fd) || !arg_integer(env, argv[1], "lengthBytes", 1, 1 << 24, &length) ||
      !arg_integer(env, argv[2], "offset", 0, SAFE_INTEGER_MAX, &offset))
    return NULL;
  void *address = mmap(NULL, (size_t)length, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, offset);
  if (address == MAP_FAILED) return error_number(env, errno);
  return region_wrap(env, address, (size_t)length, (size_t)length);
}

/* Is this line of /proc/self/maps memory that may be locked? Mapped files (the program, its libraries), the stack and the C heap.
 * Not the rest of the anonymous memory: V8 gives its pages back with MADV_DONTNEED, which locked memory refuses, and V8 then ends
 * the process. mlockall is out of the question for the same reason. */
static bool lockable(const char *perms, const char *path) {
  if (perms[0] != 'r') return false;
  if (strcmp(path, "[stack]") == 0 || strcmp(path, "[heap]") == 0) return true;
  return path[0] == '/' && strncmp(path, "/dev/", 5) != 0 && strncmp(path, "/memfd:", 7) != 0;
}

/* lockProcessMemory(): pages are locked when first touched. 0, or the first -errno; what was locked before it stays locked. */
static napi_value lock_process_memory(napi_env env, napi_callback_info info) {
  (void)info;
  FILE *maps = fopen("/proc/self/maps", "re");
  char line[PATH_MAX + 128];
  int error = 0;
  if (maps == NULL) return error_number(env, errno);
  while (fgets(line, sizeof line, maps) != NULL) {
    unsigned long start, end;
    char perms[5] = "", path[PATH_MAX] = "";
    if (sscanf(line, "%lx-%lx %4s %*s %*s %*s %4095[^\n]", &start, &end, perms, path) < 3 || !lockable(perms, path)) continue;
    if (syscall(SYS_mlock2, start, end - start, 1 /* MLOCK_ONFAULT */) != 0 && error == 0) error = errno;
  }
  fclose(maps);
  return error_number(env, error);
}

/* readClock(into): CLOCK_MONOTONIC, milliseconds, into the first element. A result would be a number on V8's heap at each call. */
static napi_value read_clock(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  double *into;
  size_t count;
  struct timespec now;
  if (!args(env, info, 1, argv) || !arg_f64s(env, argv[0], "into", &into, &count)) return NULL;
  clock_gettime(CLOCK_MONOTONIC, &now);
  if (count > 0) into[0] = (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
  return number(env, 0);
}

/* setIoFlusher(on): concerns the calling thread */
static napi_value set_io_flusher(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  bool on;
  if (!args(env, info, 1, argv) || !arg_bool(env, argv[0], "on", &on)) return NULL;
  return result(env, prctl(PR_SET_IO_FLUSHER, on ? 1L : 0L, 0L, 0L, 0L));
}

const struct method memory_methods[] = {{"mmapAnonymous", mmap_anonymous},
                                        {"mmapDescriptors", mmap_descriptors},
                                        {"lockProcessMemory", lock_process_memory},
                                        {"readClock", read_clock},
                                        {"setIoFlusher", set_io_flusher},
                                        {NULL, NULL}};
