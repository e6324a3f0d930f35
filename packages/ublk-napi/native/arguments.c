/* Argument checks and result values. */
#include "binding.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static bool refuse_type(napi_env env, const char *name, const char *wanted) {
  char text[160];
  snprintf(text, sizeof text, "%s must be %s", name, wanted);
  napi_throw_type_error(env, NULL, text);
  return false;
}

static bool refuse_range(napi_env env, const char *name) {
  char text[160];
  snprintf(text, sizeof text, "%s is out of range", name);
  napi_throw_range_error(env, NULL, text);
  return false;
}

bool args(napi_env env, napi_callback_info info, size_t count, napi_value *argv) {
  size_t given = count;
  if (napi_get_cb_info(env, info, &given, argv, NULL, NULL) != napi_ok) return refuse_type(env, "call", "valid");
  if (given < count) {
    char text[96];
    snprintf(text, sizeof text, "%zu arguments needed, %zu given", count, given);
    napi_throw_type_error(env, NULL, text);
    return false;
  }
  return true;
}

bool arg_integer(napi_env env, napi_value value, const char *name, double min, double max, int64_t *out) {
  double d;
  if (napi_get_value_double(env, value, &d) != napi_ok) return refuse_type(env, name, "a number");
  if (!(d >= min && d <= max) || d != floor(d)) return refuse_range(env, name);
  *out = (int64_t)d;
  return true;
}

bool arg_fd(napi_env env, napi_value value, int *out) {
  int64_t fd;
  if (!arg_integer(env, value, "fd", -1, FD_MAX, &fd)) return false;
  *out = (int)fd;
  return true;
}

bool arg_bool(napi_env env, napi_value value, const char *name, bool *out) {
  if (napi_get_value_bool(env, value, out) != napi_ok) return refuse_type(env, name, "a boolean");
  return true;
}

bool arg_text(napi_env env, napi_value value, const char *name, char *out, size_t size) {
  size_t length;
  if (napi_get_value_string_utf8(env, value, NULL, 0, &length) != napi_ok) return refuse_type(env, name, "a string");
  if (length >= size) return refuse_range(env, name);
  if (napi_get_value_string_utf8(env, value, out, size, &length) != napi_ok) return refuse_type(env, name, "a string");
  if (memchr(out, 0, length) != NULL) return refuse_type(env, name, "a string without NUL");
  return true;
}

static bool arg_array(napi_env env, napi_value value, const char *name, napi_typedarray_type want, const char *wanted, void **data,
                      size_t *count) {
  bool is = false;
  napi_typedarray_type type;
  if (napi_is_typedarray(env, value, &is) != napi_ok || !is ||
      napi_get_typedarray_info(env, value, &type, count, data, NULL, NULL) != napi_ok || type != want)
    return refuse_type(env, name, wanted);
  /* A detached array has no memory. */
  if (*data == NULL) *count = 0;
  return true;
}

bool arg_bytes(napi_env env, napi_value value, const char *name, uint8_t **data, size_t *length) {
  return arg_array(env, value, name, napi_uint8_array, "a Uint8Array", (void **)data, length);
}

bool arg_i32s(napi_env env, napi_value value, const char *name, int32_t **data, size_t *count) {
  return arg_array(env, value, name, napi_int32_array, "an Int32Array", (void **)data, count);
}

bool arg_f64s(napi_env env, napi_value value, const char *name, double **data, size_t *count) {
  return arg_array(env, value, name, napi_float64_array, "a Float64Array", (void **)data, count);
}

bool arg_slice(napi_env env, napi_value bytes, napi_value offset, napi_value length, uint8_t **data, size_t *size) {
  size_t have;
  int64_t at, want;
  if (!arg_bytes(env, bytes, "bytes", data, &have)) return false;
  if (!arg_integer(env, offset, "offset", 0, (double)have, &at)) return false;
  if (!arg_integer(env, length, "length", 0, (double)(have - (size_t)at), &want)) return false;
  if (*data != NULL) *data += at;
  *size = (size_t)want;
  return true;
}

napi_value number(napi_env env, double value) {
  napi_value out = NULL;
  napi_create_double(env, value, &out);
  return out;
}

napi_value result(napi_env env, long value) {
  return number(env, value == -1 ? -errno : (double)value);
}

napi_value error_number(napi_env env, int errnum) {
  return number(env, -errnum);
}

napi_value copy_bytes(napi_env env, const void *data, size_t size) {
  void *memory;
  napi_value buffer, out;
  if (napi_create_arraybuffer(env, size, &memory, &buffer) != napi_ok ||
      napi_create_typedarray(env, napi_uint8_array, size, buffer, 0, &out) != napi_ok) {
    napi_throw_error(env, NULL, "out of memory");
    return NULL;
  }
  if (size > 0) memcpy(memory, data, size);
  return out;
}

bool put(napi_env env, napi_value object, const char *name, napi_value value) {
  return value != NULL && napi_set_named_property(env, object, name, value) == napi_ok;
}

bool put_number(napi_env env, napi_value object, const char *name, double value) {
  return put(env, object, name, number(env, value));
}
