/* The module: its functions, and the state of one environment (the main thread or a worker). */
#include "binding.h"

#include <stdlib.h>

struct state *state_of(napi_env env) {
  void *state = NULL;
  napi_get_instance_data(env, &state);
  return state;
}

bool state_add_ring(struct state *state, int fd) {
  if (state->ring_count == state->ring_room) {
    size_t room = state->ring_room * 2 + 8;
    int *rings = realloc(state->rings, room * sizeof *rings);
    if (rings == NULL) return false;
    state->rings = rings;
    state->ring_room = room;
  }
  state->rings[state->ring_count++] = fd;
  return true;
}

bool state_remove_ring(struct state *state, int fd) {
  for (size_t i = 0; i < state->ring_count; i++)
    if (state->rings[i] == fd) {
      state->rings[i] = state->rings[--state->ring_count];
      return true;
    }
  return false;
}

/* Before the memory of the rings' buffers is given back. */
static void close_rings(void *data) {
  struct state *state = data;
  while (state->ring_count > 0) ring_shut(state->rings[--state->ring_count]);
}

static void free_state(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  struct state *state = data;
  free(state->rings);
  free(state);
}

bool define(napi_env env, napi_value exports, const struct method *methods) {
  for (; methods->name != NULL; methods++) {
    napi_value function;
    if (napi_create_function(env, methods->name, NAPI_AUTO_LENGTH, methods->call, NULL, &function) != napi_ok ||
        napi_set_named_property(env, exports, methods->name, function) != napi_ok)
      return false;
  }
  return true;
}

NAPI_MODULE_INIT() {
  struct state *state = calloc(1, sizeof *state);
  if (state == NULL || napi_set_instance_data(env, state, free_state, NULL) != napi_ok) {
    free(state);
    napi_throw_error(env, NULL, "out of memory");
    return NULL;
  }
  napi_add_env_cleanup_hook(env, close_rings, state);
  const struct method *const groups[] = {layout_methods, region_methods, ring_methods,   memory_methods,
                                         crc32c_methods, file_methods,   socket_methods, watch_methods};
  for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
    if (!define(env, exports, groups[i])) return NULL;
  return exports;
}
