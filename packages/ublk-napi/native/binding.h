/* What the files of this addon share: argument checks, results, per-environment state, memory regions.
 *
 * Contract of every exported function: it checks the number, type and range of its arguments and throws TypeError or RangeError
 * (then it did nothing); what the kernel answers is returned as a number, >= 0 or -errno. */
#ifndef UBLK_NAPI_BINDING_H
#define UBLK_NAPI_BINDING_H

#include <errno.h>
#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FD_MAX 0x7fffffff
#define SAFE_INTEGER_MAX 9007199254740991.0

/* Fetches exactly `count` arguments into argv; throws TypeError and returns false when there are fewer. */
bool args(napi_env env, napi_callback_info info, size_t count, napi_value *argv);

/* Each throws (naming the argument) and returns false when the value is not an integer within [min, max], and so on. */
bool arg_integer(napi_env env, napi_value value, const char *name, double min, double max, int64_t *out);
bool arg_fd(napi_env env, napi_value value, int *out);
bool arg_bool(napi_env env, napi_value value, const char *name, bool *out);
/* A string without NUL that fits into `out` with its terminator. */
bool arg_text(napi_env env, napi_value value, const char *name, char *out, size_t size);
/* Typed arrays; the memory is the array's own, and a detached array has length 0. */
bool arg_bytes(napi_env env, napi_value value, const char *name, uint8_t **data, size_t *length);
bool arg_i32s(napi_env env, napi_value value, const char *name, int32_t **data, size_t *count);
bool arg_f64s(napi_env env, napi_value value, const char *name, double **data, size_t *count);
/* Bytes plus an offset and a length that lie inside them. */
bool arg_slice(napi_env env, napi_value bytes, napi_value offset, napi_value length, uint8_t **data, size_t *size);

napi_value number(napi_env env, double value);
/* The value of a system call that returns -1 and sets errno. */
napi_value result(napi_env env, long value);
napi_value error_number(napi_env env, int errnum);
/* A new Uint8Array with a copy of the bytes; NULL with an exception pending when out of memory. */
napi_value copy_bytes(napi_env env, const void *data, size_t size);
/* Sets object[name] = value; returns false with an exception pending on failure. */
bool put(napi_env env, napi_value object, const char *name, napi_value value);
bool put_number(napi_env env, napi_value object, const char *name, double value);

/* --- regions.c: mapped memory seen as ArrayBuffers */

/* Wraps a mapping; takes it over also on failure (then it is unmapped, NULL is returned and an exception is pending). */
napi_value region_wrap(napi_env env, void *address, size_t mapped_bytes, size_t visible_bytes);

/* --- per-environment state */

struct watch;
struct state {
  int *rings;          /* descriptors of open rings */
  size_t ring_count, ring_room;
  struct watch *watches;
  uint32_t next_watch;
};
struct state *state_of(napi_env env);
/* Remembers a ring so that it is closed when the environment (a worker, say) ends; false when out of memory. */
bool state_add_ring(struct state *state, int fd);
bool state_remove_ring(struct state *state, int fd);
/* Cancels what can be cancelled and closes the ring. */
void ring_shut(int fd);

/* Defines the functions of one file on the exports; false with an exception pending on failure. */
struct method {
  const char *name;
  napi_callback call;
};
bool define(napi_env env, napi_value exports, const struct method *methods);

extern const struct method layout_methods[], region_methods[], ring_methods[], memory_methods[], crc32c_methods[], file_methods[],
    socket_methods[], watch_methods[];

#endif
