/* Mapped memory, visible to JavaScript as ArrayBuffers.
 *
 * A region is unmapped once: by munmap() from JavaScript (which first detaches the ArrayBuffer, so that no view can reach the
 * memory), or by the garbage collector. The list of live regions is shared by all threads of the process. */
#include "binding.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct region {
  void *address;
  size_t mapped_bytes;
  bool mapped;
  struct region *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct region *live;

static void forget(struct region *region) {
  for (struct region **link = &live; *link != NULL; link = &(*link)->next)
    if (*link == region) {
      *link = region->next;
      return;
    }
}

/* Unmaps and forgets; the struct stays until its ArrayBuffer is collected. */
static int unmap(struct region *region) {
  pthread_mutex_lock(&lock);
  bool mapped = region->mapped;
  region->mapped = false;
  if (mapped) forget(region);
  pthread_mutex_unlock(&lock);
  return mapped && munmap(region->address, region->mapped_bytes) != 0 ? -errno : 0;
}

static void finalize(napi_env env, void *data, void *hint) {
  (void)env;
  (void)data;
  unmap(hint);
  free(hint);
}

napi_value region_wrap(napi_env env, void *address, size_t mapped_bytes, size_t visible_bytes) {
  struct region *region = malloc(sizeof *region);
  napi_value buffer = NULL;
  if (region == NULL) {
    munmap(address, mapped_bytes);
    napi_throw_error(env, NULL, "out of memory");
    return NULL;
  }
  *region = (struct region){.address = address, .mapped_bytes = mapped_bytes, .mapped = true};
  pthread_mutex_lock(&lock);
  region->next = live;
  live = region;
  pthread_mutex_unlock(&lock);
  if (napi_create_external_arraybuffer(env, address, visible_bytes, finalize, region, &buffer) != napi_ok) {
    unmap(region);
    free(region);
    napi_throw_error(env, NULL, "cannot make an ArrayBuffer of mapped memory");
    return NULL;
  }
  return buffer;
}

/* munmap(buffer): 0; -EINVAL for a buffer that is not ours or is unmapped already. */
static napi_value unmap_buffer(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  bool is = false;
  void *data = NULL;
  size_t length;
  if (!args(env, info, 1, argv)) return NULL;
  if (napi_is_arraybuffer(env, argv[0], &is) != napi_ok || !is || napi_get_arraybuffer_info(env, argv[0], &data, &length) != napi_ok) {
    napi_throw_type_error(env, NULL, "buffer must be an ArrayBuffer");
    return NULL;
  }
  if (data == NULL) return error_number(env, EINVAL);
  struct region *found = NULL;
  pthread_mutex_lock(&lock);
  for (struct region *r = live; r != NULL; r = r->next)
    if (r->address == data) found = r;
  pthread_mutex_unlock(&lock);
  if (found == NULL) return error_number(env, EINVAL);
  /* Detaching may run the finalizer before we return, so take the mapping over first. */
  void *address = found->address;
  size_t mapped = found->mapped_bytes;
  pthread_mutex_lock(&lock);
  found->mapped = false;
  forget(found);
  pthread_mutex_unlock(&lock);
  if (napi_detach_arraybuffer(env, argv[0]) != napi_ok) {
    /* Still visible to JavaScript: leave the memory where it is rather than let a view fault. */
    return error_number(env, EBUSY);
  }
  return result(env, munmap(address, mapped));
}

static napi_value page_size(napi_env env, napi_callback_info info) {
  (void)info;
  return number(env, (double)sysconf(_SC_PAGESIZE));
}

const struct method region_methods[] = {{"munmap", unmap_buffer}, {"pageSize", page_size}, {NULL, NULL}};
