/** Prometheus metrics over HTTP on a Unix socket or a loopback port, when asked for. Nobody can change anything here. */
import { chmodSync, lstatSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { ListenOptions } from 'node:net';
import { METRICS_CONTENT_TYPE } from '@udrbd/control';
import type { Log } from './log.js';

export type MetricsAddress = { readonly path: string } | { readonly host: '127.0.0.1' | '::1'; readonly port: number };

const CLIENTS_MAX = 32;
const REQUEST_MS = 10_000;

/**
 * @param text - `/path/of/socket`, `PORT`, `127.0.0.1:PORT` or `[::1]:PORT`
 * @throws RangeError for anything else: states of the cluster are not for the network
 */
export function parseMetricsAddress(text: string): MetricsAddress {
  if (text.startsWith('/')) return { path: text };
  const match = /^(?:(127\.0\.0\.1|localhost|\[::1\]):)?(\d+)$/.exec(text);
  const port = Number(match?.[2]);
  if (match === null || port > 65535) throw new RangeError(`UDRBD_METRICS=${text}: neither the path of a socket nor a loopback port`);
  return { host: match[1] === '[::1]' ? '::1' : '127.0.0.1', port };
}

export class MetricsServer {
  readonly #address: MetricsAddress;
  readonly #server: Server;
  readonly #log: Log;
  /** Asked for meanwhile: everybody gets the same text. */
  #text: Promise<string> | undefined;

  constructor(address: MetricsAddress, text: () => Promise<string>, log: Log) {
    this.#address = address;
    this.#log = log;
    this.#server = createServer({ requestTimeout: REQUEST_MS, headersTimeout: REQUEST_MS, maxHeaderSize: 8192 }, (request, response) => {
      const path = request.url?.split('?')[0];
      const status = path !== '/metrics' && path !== '/' ? 404 : request.method !== 'GET' && request.method !== 'HEAD' ? 405 : 200;
      if (status !== 200) {
        response.writeHead(status, { 'content-type': 'text/plain', connection: 'close' }).end(`${status}\n`);
        return;
      }
      this.#text ??= text().finally(() => {
        this.#text = undefined;
      });
      this.#text.then(
        (body) => response.writeHead(200, { 'content-type': METRICS_CONTENT_TYPE }).end(request.method === 'HEAD' ? undefined : body),
        (error: unknown) => {
          log('err', `metrics: ${error instanceof Error ? error.stack : String(error)}`);
          response.writeHead(500, { 'content-type': 'text/plain' }).end('internal error\n');
        },
      );
    });
    this.#server.maxConnections = CLIENTS_MAX;
  }

  /** The port that was got, for a port of 0. */
  get port(): number | undefined {
    const address = this.#server.address();
    return typeof address === 'object' ? address?.port : undefined;
  }

  listen(): Promise<void> {
    const address = this.#address;
    // What is left of an engine that was killed.
    if ('path' in address && lstatSync(address.path, { throwIfNoEntry: false })?.isSocket()) rmSync(address.path);
    const options: ListenOptions = { ...address };
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(options, () => {
        if ('path' in address) chmodSync(address.path, 0o600);
        this.#server.removeListener('error', reject);
        this.#server.on('error', (error) => this.#log('err', `metrics: ${error.message}`));
        resolve();
      });
    });
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
    if ('path' in this.#address) rmSync(this.#address.path, { force: true });
  }
}
