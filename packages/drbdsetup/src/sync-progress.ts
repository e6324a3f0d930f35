/** Percentages, rates and remaining time of a resync or verify, from the counters of a peer device. */
import { type PeerDeviceStatistics, syncLeft } from '@udrbd/control';
import { fixed } from './numbers.js';

export interface SyncProgress {
  readonly isVerify: boolean;
  /** `%.2f` */
  readonly donePercent: string;
  /** MiB/s, `%.2f`: since the start, over the older and over the newer window. */
  readonly rate: string;
  readonly rate0: string;
  readonly rate1: string;
  /** Rate that the controller wants, or undefined when it has none. */
  readonly want: string | undefined;
  /** Seconds, `%.0f`; undefined when it can not be told. */
  readonly secondsLeft: string | undefined;
}

const mebibytesPerSecond = (sectors: number, ms: number): string => fixed((sectors / (ms === 0 ? 1 : ms)) * (1000 / 2048), 2);

/** @returns undefined when no resync or verify is running */
export function syncProgress(s: PeerDeviceStatistics): SyncProgress | undefined {
  const toGo = syncLeft(s);
  if (toGo === undefined) return undefined;
  const done = s.rsTotal - toGo;
  return {
    isVerify: s.ovLeft !== 0,
    donePercent: fixed((100 * done) / s.rsTotal, 2),
    rate: mebibytesPerSecond(done, s.rsDtStartMs - s.rsPausedMs),
    rate0: mebibytesPerSecond(s.rsDb0Sectors, s.rsDt0Ms),
    rate1: mebibytesPerSecond(s.rsDb1Sectors, s.rsDt1Ms),
    want: s.rsCSyncRate === 0 ? undefined : fixed(s.rsCSyncRate / 1024, 2),
    secondsLeft: s.rsDb1Sectors > 0 ? fixed((s.rsDt1Ms * 0.001 * toGo) / s.rsDb1Sectors, 0) : undefined,
  };
}

/** `-1` is a 64-bit number without sign in texts. */
const unsigned64 = (value: number): string => (value < 0 ? String(BigInt.asUintN(64, BigInt(value))) : String(value));

/** The tokens `key:value` after `unacked:`; more of them from the second level of verbosity on. */
export function syncDetailTokens(s: PeerDeviceStatistics, progress: SyncProgress, verbose: number): string[] {
  const tokens: string[] = [];
  if (verbose >= 2) {
    tokens.push(`rs-total:${s.rsTotal}`, `rs-dt-start-ms:${s.rsDtStartMs}`, `rs-paused-ms:${s.rsPausedMs}`);
    tokens.push(`rs-dt0-ms:${s.rsDt0Ms}`, `rs-db0-sectors:${s.rsDb0Sectors}`, `rs-dt1-ms:${s.rsDt1Ms}`, `rs-db1-sectors:${s.rsDb1Sectors}`);
    if (progress.isVerify) {
      tokens.push(`ov-start-sector:${s.ovStartSector}`, `ov-stop-sector:${unsigned64(s.ovStopSector)}`, `ov-position:${s.ovPosition}`);
      tokens.push(`ov-left:${s.ovLeft}`, `ov-skipped:${s.ovSkipped}`);
    } else {
      tokens.push(`rs-failed:${s.resyncFailed}`, `rs-same-csum:${s.rsSameCsum}`);
    }
    if (progress.want !== undefined) tokens.push(`want:${progress.want}`);
    tokens.push(`dbdt:${progress.rate}`, `dbdt0:${progress.rate0}`);
  }
  if (verbose >= 1) tokens.push(`dbdt1:${progress.rate1}`, `eta:${progress.secondsLeft ?? 'nan'}`);
  return tokens;
}
