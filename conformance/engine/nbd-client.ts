/** A small NBD client over a Unix socket: the fixed newstyle handshake with GO, simple replies, pipelined requests. */
import { connect, type Socket } from 'node:net';

const NBD_CMD = { read: 0, write: 1, disconnect: 2, flush: 3, trim: 4, writeZeroes: 6 } as const;

interface Waiter {
  readonly length: number;
  resolve(data: Buffer): void;
  reject(error: Error): void;
}

export class NbdClient {
  readonly sizeBytes: number;
  readonly flags: number;
  readonly #socket: Socket;
  readonly #waiting = new Map<number, Waiter>();
  #cookie = 0;
  #bytes: Buffer = Buffer.alloc(0);

  static async open(path: string, name = ''): Promise<NbdClient> {
    const socket = connect(path);
    const reader = new Reader(socket);
    await reader.take(18);
    const nameBytes = Buffer.from(name);
    const option = Buffer.alloc(4 + 16 + 4 + nameBytes.length + 2);
    option.writeUInt32BE(3, 0);
    option.write('IHAVEOPT', 4, 'latin1');
    option.writeUInt32BE(7, 12);
    option.writeUInt32BE(4 + nameBytes.length + 2, 16);
    option.writeUInt32BE(nameBytes.length, 20);
    nameBytes.copy(option, 24);
    socket.write(option);
    let sizeBytes = 0;
    let flags = 0;
    for (;;) {
      const head = await reader.take(20);
      const data = await reader.take(head.readUInt32BE(16));
      const type = head.readUInt32BE(12);
      if (type === 1) break;
      if (type >= 0x8000_0000) throw new Error(`NBD handshake refused: 0x${type.toString(16)}`);
      if (type === 3 && data.readUInt16BE(0) === 0) {
        sizeBytes = Number(data.readBigUInt64BE(2));
        flags = data.readUInt16BE(10);
      }
    }
    return new NbdClient(socket, reader.rest(), sizeBytes, flags);
  }

  private constructor(socket: Socket, rest: Buffer, sizeBytes: number, flags: number) {
    this.#socket = socket;
    this.sizeBytes = sizeBytes;
    this.flags = flags;
    socket.on('data', (bytes) => this.#received(bytes as Buffer));
    socket.on('error', () => undefined);
    socket.on('close', () => {
      for (const waiter of this.#waiting.values()) waiter.reject(new Error('NBD connection closed'));
      this.#waiting.clear();
    });
    if (rest.length > 0) this.#received(rest);
  }

  get isReadOnly(): boolean {
    return (this.flags & 2) !== 0;
  }

  read(offset: number, length: number): Promise<Buffer> {
    return this.#request(NBD_CMD.read, 0, offset, length, undefined);
  }
  async write(offset: number, data: Buffer, fua = false): Promise<void> {
    await this.#request(NBD_CMD.write, fua ? 1 : 0, offset, data.length, data);
  }
  async flush(): Promise<void> {
    await this.#request(NBD_CMD.flush, 0, 0, 0, undefined);
  }
  async trim(offset: number, length: number): Promise<void> {
    await this.#request(NBD_CMD.trim, 0, offset, length, undefined);
  }
  async writeZeroes(offset: number, length: number): Promise<void> {
    await this.#request(NBD_CMD.writeZeroes, 0, offset, length, undefined);
  }

  close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#socket.once('close', () => resolve()));
    this.#send(NBD_CMD.disconnect, 0, 0, 0, 0, undefined);
    this.#socket.end();
    return closed;
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #request(command: number, flags: number, offset: number, length: number, data: Buffer | undefined): Promise<Buffer> {
    this.#cookie += 1;
    const cookie = this.#cookie;
    return new Promise((resolve, reject) => {
      if (this.#socket.destroyed) {
        reject(new Error('NBD connection closed'));
        return;
      }
      this.#waiting.set(cookie, { length: command === NBD_CMD.read ? length : 0, resolve, reject });
      this.#send(command, flags, cookie, offset, length, data);
    });
  }

  #send(command: number, flags: number, cookie: number, offset: number, length: number, data: Buffer | undefined): void {
    const head = Buffer.alloc(28);
    head.writeUInt32BE(0x25609513, 0);
    head.writeUInt16BE(flags, 4);
    head.writeUInt16BE(command, 6);
    head.writeBigUInt64BE(BigInt(cookie), 8);
    head.writeBigUInt64BE(BigInt(offset), 16);
    head.writeUInt32BE(length, 24);
    this.#socket.write(data === undefined ? head : Buffer.concat([head, data]));
  }

  #received(bytes: Buffer): void {
    this.#bytes = this.#bytes.length === 0 ? bytes : Buffer.concat([this.#bytes, bytes]);
    while (this.#bytes.length >= 16) {
      const error = this.#bytes.readUInt32BE(4);
      const cookie = Number(this.#bytes.readBigUInt64BE(8));
      const waiter = this.#waiting.get(cookie);
      if (this.#bytes.readUInt32BE(0) !== 0x67446698 || waiter === undefined) {
        this.#socket.destroy();
        return;
      }
      const length = error === 0 ? waiter.length : 0;
      if (this.#bytes.length < 16 + length) return;
      const data = this.#bytes.subarray(16, 16 + length);
      this.#bytes = this.#bytes.subarray(16 + length);
      this.#waiting.delete(cookie);
      if (error === 0) waiter.resolve(data);
      else waiter.reject(Object.assign(new Error(`NBD error ${error}`), { nbdError: error }));
    }
  }
}

class Reader {
  #bytes: Buffer = Buffer.alloc(0);
  #wake: () => void = () => undefined;
  #error: Error | undefined;
  readonly #socket: Socket;
  readonly #onData = (bytes: Buffer | string) => {
    this.#bytes = Buffer.concat([this.#bytes, bytes as Buffer]);
    this.#wake();
  };

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', this.#onData);
    const end = (error?: Error) => {
      this.#error = error ?? new Error('NBD connection closed');
      this.#wake();
    };
    socket.once('error', end);
    socket.once('close', () => end());
  }

  async take(length: number): Promise<Buffer> {
    while (this.#bytes.length < length) {
      if (this.#error !== undefined) throw this.#error;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const taken = this.#bytes.subarray(0, length);
    this.#bytes = this.#bytes.subarray(length);
    return taken;
  }

  rest(): Buffer {
    this.#socket.removeListener('data', this.#onData);
    return this.#bytes;
  }
}
