/* Sockets, one function per system call. Addresses travel as the bytes of struct sockaddr. */
#include "binding.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* socket(family, type, protocol) */
static napi_value open_socket(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  int64_t family, type, protocol;
  if (!args(env, info, 3, argv) || !arg_integer(env, argv[0], "family", 0, 255, &family) ||
      !arg_integer(env, argv[1], "type", 0, INT32_MAX, &type) || !arg_integer(env, argv[2], "protocol", 0, 255, &protocol))
    return NULL;
  return result(env, socket((int)family, (int)type, (int)protocol));
}

static bool arg_address(napi_env env, napi_value value, struct sockaddr_storage *address, socklen_t *length) {
  uint8_t *data;
  size_t size;
  if (!arg_bytes(env, value, "address", &data, &size)) return false;
  if (size < sizeof(sa_family_t) || size > sizeof *address) {
    napi_throw_range_error(env, NULL, "address is out of range");
    return false;
  }
  memcpy(address, data, size);
  *length = (socklen_t)size;
  return true;
}

/* bind(fd, address) */
static napi_value bind_socket(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  int fd;
  struct sockaddr_storage address;
  socklen_t length;
  if (!args(env, info, 2, argv) || !arg_fd(env, argv[0], &fd) || !arg_address(env, argv[1], &address, &length)) return NULL;
  return result(env, bind(fd, (struct sockaddr *)&address, length));
}

/* connect(fd, address): waits */
static napi_value connect_socket(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  int fd;
  struct sockaddr_storage address;
  socklen_t length;
  if (!args(env, info, 2, argv) || !arg_fd(env, argv[0], &fd) || !arg_address(env, argv[1], &address, &length)) return NULL;
  return result(env, connect(fd, (struct sockaddr *)&address, length));
}

/* listen(fd, backlog) */
static napi_value listen_socket(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  int fd;
  int64_t backlog;
  if (!args(env, info, 2, argv) || !arg_fd(env, argv[0], &fd) || !arg_integer(env, argv[1], "backlog", 0, INT32_MAX, &backlog)) return NULL;
  return result(env, listen(fd, (int)backlog));
}

/* accept(fd): waits; the new socket is close-on-exec */
static napi_value accept_socket(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  int fd;
  if (!args(env, info, 1, argv) || !arg_fd(env, argv[0], &fd)) return NULL;
  return result(env, accept4(fd, NULL, NULL, SOCK_CLOEXEC));
}

/* shutdown(fd, how) */
static napi_value shutdown_socket(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  int fd;
  int64_t how;
  if (!args(env, info, 2, argv) || !arg_fd(env, argv[0], &fd) || !arg_integer(env, argv[1], "how", 0, 2, &how)) return NULL;
  return result(env, shutdown(fd, (int)how));
}

/* setSockOpt(fd, level, option, value): integer options */
static napi_value set_option(napi_env env, napi_callback_info info) {
  napi_value argv[4];
  int fd;
  int64_t level, option, value;
  if (!args(env, info, 4, argv) || !arg_fd(env, argv[0], &fd) || !arg_integer(env, argv[1], "level", 0, INT32_MAX, &level) ||
      !arg_integer(env, argv[2], "option", 0, INT32_MAX, &option) || !arg_integer(env, argv[3], "value", INT32_MIN, INT32_MAX, &value))
    return NULL;
  int plain = (int)value;
  return result(env, setsockopt(fd, (int)level, (int)option, &plain, sizeof plain));
}

/* getSockOpt(fd, level, option): integer options */
static napi_value get_option(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  int fd, value = 0;
  int64_t level, option;
  socklen_t length = sizeof value;
  if (!args(env, info, 3, argv) || !arg_fd(env, argv[0], &fd) || !arg_integer(env, argv[1], "level", 0, INT32_MAX, &level) ||
      !arg_integer(env, argv[2], "option", 0, INT32_MAX, &option))
    return NULL;
  return getsockopt(fd, (int)level, (int)option, &value, &length) != 0 ? error_number(env, errno) : number(env, value);
}

/* peerCredentials(fd): pid, uid and gid of who connected a Unix socket, as 12 bytes */
static napi_value peer_credentials(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  int fd;
  struct ucred who;
  socklen_t length = sizeof who;
  if (!args(env, info, 1, argv) || !arg_fd(env, argv[0], &fd)) return NULL;
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &length) != 0 ? error_number(env, errno) : copy_bytes(env, &who, length);
}

/* bindToDevice(fd, name): an empty name removes the binding */
static napi_value bind_to_device(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  int fd;
  char name[IF_NAMESIZE];
  if (!args(env, info, 2, argv) || !arg_fd(env, argv[0], &fd) || !arg_text(env, argv[1], "name", name, sizeof name)) return NULL;
  return result(env, setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, (socklen_t)strlen(name) + 1));
}

static napi_value name_of(napi_env env, napi_callback_info info, int (*call)(int, struct sockaddr *, socklen_t *)) {
  napi_value argv[1];
  int fd;
  struct sockaddr_storage address;
  socklen_t length = sizeof address;
  if (!args(env, info, 1, argv) || !arg_fd(env, argv[0], &fd)) return NULL;
  if (call(fd, (struct sockaddr *)&address, &length) != 0) return error_number(env, errno);
  return copy_bytes(env, &address, length > sizeof address ? sizeof address : length);
}

static int local_name(int fd, struct sockaddr *address, socklen_t *length) {
  return getsockname(fd, address, length);
}

static int peer_name(int fd, struct sockaddr *address, socklen_t *length) {
  return getpeername(fd, address, length);
}

static napi_value get_sock_name(napi_env env, napi_callback_info info) {
  return name_of(env, info, local_name);
}

static napi_value get_peer_name(napi_env env, napi_callback_info info) {
  return name_of(env, info, peer_name);
}

/* inetPton(family, text): 4 or 16 bytes, or -EINVAL */
static napi_value inet_parse(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  int64_t family;
  char text[128];
  uint8_t bytes[16];
  if (!args(env, info, 2, argv) || !arg_integer(env, argv[0], "family", 0, 255, &family) || !arg_text(env, argv[1], "text", text, sizeof text))
    return NULL;
  if ((family != AF_INET && family != AF_INET6) || inet_pton((int)family, text, bytes) != 1) return error_number(env, EINVAL);
  return copy_bytes(env, bytes, family == AF_INET ? 4 : 16);
}

/* interfaceIndex(name): > 0, or -ENODEV */
static napi_value interface_index(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  char name[IF_NAMESIZE];
  if (!args(env, info, 1, argv) || !arg_text(env, argv[0], "name", name, sizeof name)) return NULL;
  unsigned index = if_nametoindex(name);
  return index == 0 ? error_number(env, ENODEV) : number(env, index);
}

const struct method socket_methods[] = {{"socket", open_socket},
                                        {"bind", bind_socket},
                                        {"connect", connect_socket},
                                        {"listen", listen_socket},
                                        {"accept", accept_socket},
                                        {"shutdown", shutdown_socket},
                                        {"setSockOpt", set_option},
                                        {"getSockOpt", get_option},
                                        {"peerCredentials", peer_credentials},
                                        {"bindToDevice", bind_to_device},
                                        {"getSockName", get_sock_name},
                                        {"getPeerName", get_peer_name},
                                        {"inetPton", inet_parse},
                                        {"interfaceIndex", interface_index},
                                        {NULL, NULL}};
