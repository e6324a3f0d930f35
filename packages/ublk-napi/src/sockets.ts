// Blocking stream sockets for a ring. Blocking on purpose: on a non-blocking socket the ring answers EAGAIN instead of waiting.
// These calls are for set-up; data moves with the ring's SEND, RECV, SENDMSG, CONNECT and ACCEPT.
import { checked, ErrnoError } from './errno.js';
import { native } from './native.js';
import { AF, decodeAddress, encodeAddress, type SocketAddress } from './socket-address.js';

const SOCK_STREAM = 1;
const SOCK_CLOEXEC = 0o2000000;
const FAMILY = { ipv4: AF.INET, ipv6: AF.INET6, unix: AF.UNIX } as const;

const SOL_SOCKET = 1;
const SO_ERROR = 4;
const SOL_TCP = 6;
const SOL_IPV6 = 41;

/** Options by name: [level, option]. Values are integers; booleans are 0 and 1. Source: asm-generic/socket.h, linux/tcp.h. */
export const SOCKET_OPTIONS = {
  reuseAddress: [SOL_SOCKET, 2],
  keepAlive: [SOL_SOCKET, 9],
  sendBuffer: [SOL_SOCKET, 7],
  receiveBuffer: [SOL_SOCKET, 8],
  /** Beyond net.core.wmem_max; needs CAP_NET_ADMIN. */
  sendBufferForce: [SOL_SOCKET, 32],
  receiveBufferForce: [SOL_SOCKET, 33],
  priority: [SOL_SOCKET, 12],
  reusePort: [SOL_SOCKET, 15],
  mark: [SOL_SOCKET, 36],
  noDelay: [SOL_TCP, 1],
  maxSegment: [SOL_TCP, 2],
  cork: [SOL_TCP, 3],
  keepIdle: [SOL_TCP, 4],
  keepInterval: [SOL_TCP, 5],
  keepCount: [SOL_TCP, 6],
  synCount: [SOL_TCP, 7],
  quickAck: [SOL_TCP, 12],
  /** Milliseconds of unacknowledged data after which the connection breaks. */
  userTimeout: [SOL_TCP, 18],
  typeOfService: [0, 1],
  v6Only: [SOL_IPV6, 26],
  trafficClass: [SOL_IPV6, 67],
} as const satisfies Record<string, readonly [number, number]>;

export type SocketOption = keyof typeof SOCKET_OPTIONS;

/** A blocking, close-on-exec stream socket. @throws ErrnoError EAFNOSUPPORT, EMFILE */
export function openSocket(family: SocketAddress['family']): number {
  return checked(native.socket(FAMILY[family], SOCK_STREAM | SOCK_CLOEXEC, 0), 'socket');
}

/** @throws ErrnoError EADDRINUSE, EADDRNOTAVAIL, EACCES */
export function bindSocket(fd: number, address: SocketAddress): void {
  checked(native.bind(fd, encodeAddress(address)), 'bind', describeAddress(address));
}

/** @throws ErrnoError EADDRINUSE */
export function listenSocket(fd: number, backlog = 128): void {
  checked(native.listen(fd, backlog), 'listen');
}

/** Connects and waits for it: for set-up on threads that may block. A reactor uses prepConnect. @throws ErrnoError ECONNREFUSED, ENOENT, ETIMEDOUT */
export function connectSocket(fd: number, address: SocketAddress): void {
  checked(native.connect(fd, encodeAddress(address)), 'connect', describeAddress(address));
}

/** Waits for one connection. @throws ErrnoError */
export function acceptSocket(fd: number): number {
  return checked(native.accept(fd), 'accept');
}

/** @param how - 0 reading, 1 writing, 2 both. @throws ErrnoError ENOTCONN */
export function shutdownSocket(fd: number, how: number): void {
  checked(native.shutdown(fd, how), 'shutdown');
}

/** @throws ErrnoError ENOPROTOOPT for an option the socket's family does not have, EPERM */
export function setSocketOption(fd: number, option: SocketOption, value: number | boolean): void {
  const [level, number] = SOCKET_OPTIONS[option];
  checked(native.setSockOpt(fd, level, number, Number(value)), 'setsockopt', option);
}

/** Never negative for the options above. @throws ErrnoError */
export function getSocketOption(fd: number, option: SocketOption): number {
  const [level, number] = SOCKET_OPTIONS[option];
  return checked(native.getSockOpt(fd, level, number), 'getsockopt', option);
}

/** Sends and receives through one network interface only. @throws ErrnoError ENODEV, EPERM */
export function bindToInterface(fd: number, name: string): void {
  checked(native.bindToDevice(fd, name), 'SO_BINDTODEVICE', name);
}

/** Who connected a Unix socket, as the kernel noted it then. @throws ErrnoError ENOTSOCK, EBADF */
export function getPeerCredentials(fd: number): { readonly pid: number; readonly uid: number; readonly gid: number } {
  const bytes = native.peerCredentials(fd);
  if (typeof bytes === 'number') throw new ErrnoError(-bytes, 'getsockopt', 'SO_PEERCRED');
  const [pid = 0, uid = 0, gid = 0] = new Uint32Array(bytes.slice().buffer);
  return { pid, uid, gid };
}

/** The pending error of a socket (cleared by asking): 0 or a positive errno. @throws ErrnoError EBADF, ENOTSOCK */
export function getSocketError(fd: number): number {
  return checked(native.getSockOpt(fd, SOL_SOCKET, SO_ERROR), 'getsockopt', 'SO_ERROR');
}

/** @throws ErrnoError EBADF, ENOTSOCK */
export function getLocalAddress(fd: number): SocketAddress {
  return decoded(native.getSockName(fd), 'getsockname');
}

/** @throws ErrnoError ENOTCONN */
export function getPeerAddress(fd: number): SocketAddress {
  return decoded(native.getPeerName(fd), 'getpeername');
}

/** `192.0.2.1:7788`, `[2001:db8::1]:7788` or `unix:/run/x`. */
export function describeAddress(address: SocketAddress): string {
  if (address.family === 'unix') return `unix:${address.path.replace('\0', '@')}`;
  return address.family === 'ipv6' ? `[${address.address}]:${address.port}` : `${address.address}:${address.port}`;
}

function decoded(bytes: Uint8Array | number, syscall: string): SocketAddress {
  if (typeof bytes === 'number') throw new ErrnoError(-bytes, syscall);
  const address = decodeAddress(bytes);
  if (address === undefined) throw new Error(`${syscall}: unknown address family`);
  return address;
}
