/** Cost of one received P_DATA header and its ack: `node --import=tsx --conditions=udrbd-source packages/wire/src/data-path.bench.ts` */
import { PerformanceObserver } from 'node:perf_hooks';
import {
  COMMAND,
  checkPacket,
  checkRange,
  decodeHeader,
  HEADER_KIND,
  PacketHeader,
  pDataBlockIdHigh,
  pDataBlockIdLow,
  pDataSector,
  pDataSeqNum,
  putHeader,
  putPBlockAck,
  putPData,
} from './index.js';

const OPERATIONS = 5_000_000;
const view = new DataView(new ArrayBuffer(4096));
const out = new DataView(new ArrayBuffer(64));
const header = new PacketHeader();

function run(count: number): number {
  let sum = 0;
  for (let i = 0; i < count; i++) {
    putHeader(view, 0, HEADER_KIND.H100, 0, COMMAND.P_DATA, 24 + 4096);
    putPData(view, 16, i * 8 + 0x2_0000_0000, 7, i, i, 0x102);
    sum += decodeHeader(view, 0, 4096, HEADER_KIND.H100, header);
    sum += checkPacket(false, header.command, header.length, 101, 15);
    const sector = pDataSector(view, 16);
    sum += checkRange(sector, header.length - 24, 1 << 20, 2 ** 40);
    const at = putHeader(out, 0, HEADER_KIND.H100, 0, COMMAND.P_WRITE_ACK, 24);
    putPBlockAck(out, at, sector, pDataBlockIdHigh(view, 16), pDataBlockIdLow(view, 16), header.length - 24, pDataSeqNum(view, 16));
  }
  return sum;
}

let collections = 0;
const observer = new PerformanceObserver((list) => {
  collections += list.getEntries().length;
});
observer.observe({ entryTypes: ['gc'] });
run(OPERATIONS / 10);
await new Promise((resolve) => setTimeout(resolve, 10));
collections = 0;
const start = process.hrtime.bigint();
const sum = run(OPERATIONS);
const ns = Number(process.hrtime.bigint() - start);
await new Promise((resolve) => setTimeout(resolve, 10));
console.log(`${(ns / OPERATIONS).toFixed(1)} ns per write header with its ack, ${collections} collections, sum ${sum}`);
