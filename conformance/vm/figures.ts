// Reads the figures that guest/figures.sh prints.

export interface Figure {
  readonly device: string;
  /** PATTERN:BLOCK:DEPTH, as given to fio. */
  readonly job: string;
  readonly iops: number;
  readonly mibps: number;
  /** Mean completion latency, microseconds. */
  readonly lat_us: number;
}

/** The figures among the lines of an output; other lines are passed over. */
export function parseFigures(output: string): Figure[] {
  const lines = output.split('\n').filter((line) => line.startsWith('{"device":'));
  return lines.map((line) => JSON.parse(line) as Figure);
}

const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
};

export interface Comparison {
  readonly job: string;
  /** Medians over the rounds. */
  readonly iops: number;
  readonly otherIops: number;
  /** Median of the ratios of neighbouring runs: 1 means as fast as the other device. */
  readonly ratio: number;
}

/** `device` against `other`, job by job; run i of one is paired with run i of the other. */
export function compareFigures(figures: readonly Figure[], device: string, other: string): Comparison[] {
  const of = (name: string, job: string): number[] =>
    figures.filter((each) => each.device === name && each.job === job).map((each) => each.iops);
  return [...new Set(figures.map((each) => each.job))].map((job) => {
    const [own, others] = [of(device, job), of(other, job)];
    const pairs = own.slice(0, others.length);
    if (pairs.length === 0) throw new Error(`${job} was not run on both ${device} and ${other}`);
    return { job, iops: median(own), otherIops: median(others), ratio: median(pairs.map((value, index) => value / others[index]!)) };
  });
}
