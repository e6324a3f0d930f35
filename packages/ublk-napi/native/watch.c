/* Calls JavaScript from libuv's loop when a descriptor is readable. Watches are named by number; those left open end with their
 * environment. Everything here runs on the environment's own thread. */
#include "binding.h"

#include <stdlib.h>
#include <uv.h>

struct watch {
  uv_poll_t poll; /* first: libuv hands it back in callbacks */
  napi_env env;
  napi_ref callback;
  napi_async_cleanup_hook_handle hook;
  uint32_t id;
  bool closing;
  struct watch *next;
};

static void closed(uv_handle_t *handle) {
  struct watch *watch = (struct watch *)handle;
  napi_remove_async_cleanup_hook(watch->hook);
  free(watch);
}

static void stop(struct watch *watch) {
  if (watch->closing) return;
  watch->closing = true;
  napi_delete_reference(watch->env, watch->callback);
  uv_poll_stop(&watch->poll);
  uv_close((uv_handle_t *)&watch->poll, closed);
}

static void environment_ends(napi_async_cleanup_hook_handle handle, void *data) {
  (void)handle;
  stop(data);
}

static void readable(uv_poll_t *poll, int status, int events) {
  (void)status;
  (void)events;
  struct watch *watch = (struct watch *)poll;
  napi_env env = watch->env;
  napi_handle_scope scope;
  napi_value callback, global, error;
  bool pending = false;
  if (watch->closing || napi_open_handle_scope(env, &scope) != napi_ok) return;
  if (napi_get_reference_value(env, watch->callback, &callback) == napi_ok && callback != NULL &&
      napi_get_global(env, &global) == napi_ok && napi_make_callback(env, NULL, global, callback, 0, NULL, NULL) != napi_ok) {
    if (napi_is_exception_pending(env, &pending) == napi_ok && pending && napi_get_and_clear_last_exception(env, &error) == napi_ok)
      napi_fatal_exception(env, error);
  }
  napi_close_handle_scope(env, scope);
}

/* watchFd(fd, callback): a handle > 0, or -errno (-EPERM: cannot be polled; -EEXIST: watched already) */
static napi_value watch_fd(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  int fd;
  napi_valuetype type;
  uv_loop_t *loop;
  struct state *state = state_of(env);
  if (!args(env, info, 2, argv) || !arg_fd(env, argv[0], &fd)) return NULL;
  if (napi_typeof(env, argv[1], &type) != napi_ok || type != napi_function) {
    napi_throw_type_error(env, NULL, "callback must be a function");
    return NULL;
  }
  if (fd < 0) return error_number(env, EBADF);
  struct watch *watch = calloc(1, sizeof *watch);
  if (watch == NULL || napi_get_uv_event_loop(env, &loop) != napi_ok) {
    free(watch);
    return error_number(env, ENOMEM);
  }
  watch->env = env;
  int ret = uv_poll_init(loop, &watch->poll, fd);
  if (ret != 0) {
    free(watch);
    return number(env, ret);
  }
  if (napi_create_reference(env, argv[1], 1, &watch->callback) != napi_ok ||
      napi_add_async_cleanup_hook(env, environment_ends, watch, &watch->hook) != napi_ok) {
    /* Without its hook the handle cannot be freed safely; this happens only when memory is exhausted. */
    uv_close((uv_handle_t *)&watch->poll, NULL);
    return error_number(env, ENOMEM);
  }
  watch->id = ++state->next_watch;
  watch->next = state->watches;
  state->watches = watch;
  uv_poll_start(&watch->poll, UV_READABLE, readable);
  return number(env, watch->id);
}

static struct watch **find(napi_env env, napi_value value) {
  int64_t id;
  if (!arg_integer(env, value, "handle", 1, UINT32_MAX, &id)) return NULL;
  for (struct watch **link = &state_of(env)->watches; *link != NULL; link = &(*link)->next)
    if ((*link)->id == (uint32_t)id) return link;
  napi_throw_range_error(env, NULL, "handle is not open");
  return NULL;
}

/* watchRef(handle, keepAlive) */
static napi_value watch_ref(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  bool keep;
  struct watch **link;
  if (!args(env, info, 2, argv) || !arg_bool(env, argv[1], "keepAlive", &keep) || (link = find(env, argv[0])) == NULL) return NULL;
  if (keep)
    uv_ref((uv_handle_t *)&(*link)->poll);
  else
    uv_unref((uv_handle_t *)&(*link)->poll);
  return NULL;
}

/* unwatchFd(handle) */
static napi_value unwatch_fd(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  struct watch **link;
  if (!args(env, info, 1, argv) || (link = find(env, argv[0])) == NULL) return NULL;
  struct watch *watch = *link;
  *link = watch->next;
  stop(watch);
  return NULL;
}

const struct method watch_methods[] = {{"watchFd", watch_fd}, {"watchRef", watch_ref}, {"unwatchFd", unwatch_fd}, {NULL, NULL}};
