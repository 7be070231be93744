import { beginOf, type Chain, placeOf, type Route, STEPS, type Step } from "./chain.ts";

/** How a number of durations is spread, in nanoseconds. */
export interface Distribution {
  count: number;
  min: number;
  /** The nearest rank, as `p99` is: a duration that occurred, or one that is at most 0.4 % from it (see {@link Spread}). */
  median: number;
  p99: number;
  max: number;
  /** How many lay at or above `from` and below twice that; `from` is a power of two, buckets leave no gap. */
  histogram: { from: number; count: number }[];
}

/** The latencies of the interrupts of one GSI and vector that came one way. */
export interface ChainStatistics {
  process: number | null;
  gsi: number | null;
  vector: number | null;
  /** Of interrupts that have no vector. */
  delivery_mode: Chain["delivery_mode"];
  route: Route;
  complete: number;
  coalesced: number;
  posted: number;
  unfinished: number;
  /** From each step to the next that there was, in the order of steps. */
  between: { from: Step; to: Step; times: Distribution }[];
  /** From the beginning to the end of complete chains. */
  total: Distribution | null;
}

/** What the times of chains say, for each VM, GSI, vector and route, in that order. */
export function statisticsOf(chains: Iterable<Chain>): ChainStatistics[] {
  const collector = new StatisticsCollector();
  for (const chain of chains) collector.add(chain);
  return collector.result();
}

/** What is known of the chains of one place. */
type Group = Omit<ChainStatistics, "between" | "total"> & {
  between: Map<number, { from: Step; to: Step; times: Spread }>;
  total: Spread;
};

/** Collects what the times of chains say; what it keeps does not grow with their number. */
export class StatisticsCollector {
  readonly #groups = new Map<number | string, Group>();

  add(chain: Chain): void {
    const group = this.#groupOf(chain);
    group[chain.outcome]++;
    let [from, before, end] = [-1, 0, 0];
    for (let to = 0; to < WAY.length; to++) {
      const time = chain.steps[WAY[to]!];
      if (time === undefined) continue;
      if (from !== -1) intervalOf(group, from, to).add(time - before);
      if (time > end) end = time;
      [from, before] = [to, time];
    }
    if (chain.outcome === "complete") group.total.add(end - beginOf(chain));
  }

  #groupOf(chain: Chain): Group {
    const place = placeOf(chain);
    const known = this.#groups.get(place);
    if (known !== undefined) return known;
    const { process, gsi, vector, delivery_mode, route } = chain;
    const counts = { complete: 0, coalesced: 0, posted: 0, unfinished: 0 };
    const group = {
      process,
      gsi,
      vector,
      delivery_mode,
      route,
      ...counts,
      between: new Map(),
      total: new Spread(),
    };
    this.#groups.set(place, group);
    return group;
  }

  result(): ChainStatistics[] {
    return [...this.#groups.values()]
      .map(({ between, total, ...group }) => ({
        ...group,
        between: [...between]
          .sort(([one], [other]) => one - other)
          .map(([, { from, to, times }]) => ({ from, to, times: times.distribution() })),
        total: total.count === 0 ? null : total.distribution(),
      }))
      .sort(byPlace);
  }
}

/** @param from and @param to are places in {@link WAY}. */
function intervalOf({ between }: Group, from: number, to: number): Spread {
  const key = from * WAY.length + to;
  const known = between.get(key);
  if (known !== undefined) return known.times;
  const times = new Spread();
  between.set(key, { from: WAY[from]!, to: WAY[to]!, times });
  return times;
}

function byPlace(one: ChainStatistics, other: ChainStatistics): number {
  const rank = (value: number | null) => value ?? Number.MAX_SAFE_INTEGER;
  return (
    rank(one.process) - rank(other.process) ||
    rank(one.gsi) - rank(other.gsi) ||
    rank(one.vector) - rank(other.vector) ||
    one.route.localeCompare(other.route)
  );
}

/** The steps that make up the interrupt's own way; `lowered` is the line's and comes when it likes. */
const WAY = STEPS.filter((step) => step !== "lowered");

/**
 * How durations are spread.
 *
 * @param durations in nanoseconds, at least one.
 */
export function distributionOf(durations: readonly number[]): Distribution {
  const spread = new Spread();
  for (const duration of durations) spread.add(duration);
  return spread.distribution();
}

/** So many durations are kept as they are. */
const MOST_EXACT = 1000;
/** Of more, each power of two is divided into so many buckets; a bucket's middle is at most 0.4 % from what is in it. */
const BUCKETS_OF_POWER = 128;

/**
 * Durations, counted in buckets that grow with them (log-linear, as in HdrHistogram): the first 1000 as they are,
 * more in buckets of at most 1/128 of their durations.
 */
class Spread {
  count = 0;
  #min = Number.POSITIVE_INFINITY;
  #max = Number.NEGATIVE_INFINITY;
  /** How many there are of each duration, or in each bucket, by the least that it takes. */
  #counts = new Map<number, number>();

  add(duration: number): void {
    this.count++;
    if (duration < this.#min) this.#min = duration;
    if (duration > this.#max) this.#max = duration;
    if (this.count === MOST_EXACT + 1) this.#makeCoarse();
    this.#put(this.count > MOST_EXACT ? bucketOf(duration) : duration, 1);
  }

  #put(value: number, count: number): void {
    this.#counts.set(value, (this.#counts.get(value) ?? 0) + count);
  }

  #makeCoarse(): void {
    const exact = this.#counts;
    this.#counts = new Map();
    for (const [duration, count] of exact) this.#put(bucketOf(duration), count);
  }

  distribution(): Distribution {
    const sorted = [...this.#counts].sort(([one], [other]) => one - other);
    return {
      count: this.count,
      min: this.#min,
      median: this.#rank(sorted, 0.5),
      p99: this.#rank(sorted, 0.99),
      max: this.#max,
      histogram: this.#histogram(sorted),
    };
  }

  /** The nearest rank. */
  #rank(sorted: readonly [value: number, count: number][], share: number): number {
    let left = Math.max(Math.ceil(share * this.count), 1);
    const [value] = sorted.find(([, count]) => {
      left -= count;
      return left <= 0;
    })!;
    if (this.count <= MOST_EXACT) return value;
    const middle = Math.floor(value + (sizeOfBucket(value) - 1) / 2);
    return Math.min(Math.max(middle, this.#min), this.#max);
  }

  #histogram(sorted: readonly [value: number, count: number][]): Distribution["histogram"] {
    const first = powerOf(this.#min);
    const counts = new Array<number>(powerOf(this.#max) - first + 1).fill(0);
    for (const [value, count] of sorted) counts[powerOf(value) - first]! += count;
    return counts.map((count, index) => ({ from: 2 ** (first + index), count }));
  }
}

/** The power of two that a duration is at or above; 0 for those below 1. */
function powerOf(duration: number): number {
  return Math.max(Math.floor(Math.log2(Math.max(duration, 1))), 0);
}

/** The bucket of a duration, by the least that it takes. A power of two begins one. */
function bucketOf(duration: number): number {
  const size = sizeOfBucket(duration);
  return Math.floor(duration / size) * size;
}

function sizeOfBucket(duration: number): number {
  return Math.max(2 ** powerOf(duration) / BUCKETS_OF_POWER, 1);
}

const BARS = " ▁▂▃▄▅▆▇█";

/** A histogram as text: one bar a bucket, the fullest a whole block; an empty bucket is a blank. */
export function histogramText(histogram: Distribution["histogram"]): string {
  const most = Math.max(...histogram.map(({ count }) => count));
  return histogram.map(({ count }) => BARS[Math.ceil((count / most) * 8)]).join("");
}
