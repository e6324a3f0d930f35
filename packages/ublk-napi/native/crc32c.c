/* CRC-32C (polynomial 0x1edc6f41, reflected 0x82f63b78): the processor's instruction, or eight tables. */
#include "binding.h"

#include <pthread.h>
#include <string.h>

static uint32_t table[8][256];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_tables(void) {
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ 0x82f63b78U : crc >> 1;
    table[0][i] = crc;
  }
  for (uint32_t i = 0; i < 256; i++)
    for (int t = 1; t < 8; t++) table[t][i] = table[t - 1][i] >> 8 ^ table[0][table[t - 1][i] & 0xff];
}

static uint32_t crc_tables(uint32_t crc, const uint8_t *p, size_t n) {
  pthread_once(&once, make_tables);
  for (; n >= 8; n -= 8, p += 8) {
    uint64_t word;
    memcpy(&word, p, 8);
    word ^= crc;
    crc = table[7][word & 0xff] ^ table[6][word >> 8 & 0xff] ^ table[5][word >> 16 & 0xff] ^ table[4][word >> 24 & 0xff] ^
          table[3][word >> 32 & 0xff] ^ table[2][word >> 40 & 0xff] ^ table[1][word >> 48 & 0xff] ^ table[0][word >> 56];
  }
  while (n-- > 0) crc = crc >> 8 ^ table[0][(crc ^ *p++) & 0xff];
  return crc;
}

#if defined(__x86_64__)
static bool has_instruction(void) {
  return __builtin_cpu_supports("sse4.2");
}
__attribute__((target("sse4.2"))) static uint32_t crc_instruction(uint32_t crc, const uint8_t *p, size_t n) {
  uint64_t wide = crc;
  for (; n >= 8; n -= 8, p += 8) {
    uint64_t word;
    memcpy(&word, p, 8);
    wide = __builtin_ia32_crc32di(wide, word);
  }
  crc = (uint32_t)wide;
  while (n-- > 0) crc = __builtin_ia32_crc32qi(crc, *p++);
  return crc;
}
#elif defined(__aarch64__) && defined(__GNUC__)
#include <arm_acle.h>
#include <sys/auxv.h>
static bool has_instruction(void) {
  return (getauxval(AT_HWCAP) & (1UL << 7)) != 0;
}
__attribute__((target("+crc"))) static uint32_t crc_instruction(uint32_t crc, const uint8_t *p, size_t n) {
  for (; n >= 8; n -= 8, p += 8) {
    uint64_t word;
    memcpy(&word, p, 8);
    crc = __crc32cd(crc, word);
  }
  while (n-- > 0) crc = __crc32cb(crc, *p++);
  return crc;
}
#else
static bool has_instruction(void) {
  return false;
}
static uint32_t crc_instruction(uint32_t crc, const uint8_t *p, size_t n) {
  return crc_tables(crc, p, n);
}
#endif

static napi_value checksum(napi_env env, napi_callback_info info, bool instruction) {
  napi_value argv[4];
  uint8_t *data;
  size_t size;
  int64_t seed;
  if (!args(env, info, 4, argv) || !arg_slice(env, argv[0], argv[1], argv[2], &data, &size) ||
      !arg_integer(env, argv[3], "seed", 0, UINT32_MAX, &seed))
    return NULL;
  return number(env, (instruction ? crc_instruction : crc_tables)((uint32_t)seed, data, size));
}

/* crc32c(bytes, offset, length, seed) */
static napi_value crc32c(napi_env env, napi_callback_info info) {
  return checksum(env, info, has_instruction());
}

/* crc32cPortable(bytes, offset, length, seed): the same by tables, so that both ways can be compared */
static napi_value crc32c_portable(napi_env env, napi_callback_info info) {
  return checksum(env, info, false);
}

static napi_value crc32c_hardware(napi_env env, napi_callback_info info) {
  (void)info;
  napi_value out;
  return napi_get_boolean(env, has_instruction(), &out) == napi_ok ? out : NULL;
}

const struct method crc32c_methods[] = {
    {"crc32c", crc32c}, {"crc32cPortable", crc32c_portable}, {"crc32cHardware", crc32c_hardware}, {NULL, NULL}};
