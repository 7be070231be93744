import { beginOf, type Chain, type Route, STEPS, type Step } from "./chain.ts";

/** How a number of durations is spread, in nanoseconds. */
export interface Distribution {
  count: number;
  min: number;
  /** The nearest rank, as `p99` is: a duration that occurred. */
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
export function statisticsOf(chains: readonly Chain[]): ChainStatistics[] {
  const groups = new Map<string, Chain[]>();
  for (const chain of chains) {
    const { process, gsi, vector, delivery_mode, route } = chain;
    const place = [process, gsi, vector, delivery_mode, route].join();
    const group = groups.get(place);
    if (group === undefined) groups.set(place, [chain]);
    else group.push(chain);
  }
  return [...groups.values()].map(statisticsOfGroup).sort(byPlace);
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

function statisticsOfGroup(chains: readonly Chain[]): ChainStatistics {
  const [{ process, gsi, vector, delivery_mode, route }] = chains as [Chain];
  const having = (outcome: Chain["outcome"]) => chains.filter((chain) => chain.outcome === outcome);
  const complete = having("complete");
  return {
    process,
    gsi,
    vector,
    delivery_mode,
    route,
    complete: complete.length,
    coalesced: having("coalesced").length,
    posted: having("posted").length,
    unfinished: having("unfinished").length,
    between: intervalsOf(chains),
    total: complete.length === 0 ? null : distributionOf(complete.map(durationOf)),
  };
}

/** The steps that make up the interrupt's own way; `lowered` is the line's and comes when it likes. */
const WAY = STEPS.filter((step) => step !== "lowered");

/** From a chain's first step to its last, `lowered` aside. */
function durationOf(chain: Chain): number {
  return Math.max(...WAY.map((step) => chain.steps[step] ?? 0)) - beginOf(chain);
}

function intervalsOf(chains: readonly Chain[]): ChainStatistics["between"] {
  const times = new Map<string, { from: Step; to: Step; times: number[] }>();
  for (const { steps } of chains) {
    const taken = WAY.filter((step) => steps[step] !== undefined);
    taken.slice(1).forEach((to, index) => {
      const from = taken[index]!;
      const key = `${WAY.indexOf(from)} ${WAY.indexOf(to)}`;
      if (!times.has(key)) times.set(key, { from, to, times: [] });
      times.get(key)!.times.push(steps[to]! - steps[from]!);
    });
  }
  return [...times.keys()].sort().map((key) => {
    const interval = times.get(key)!;
    return { ...interval, times: distributionOf(interval.times) };
  });
}

/**
 * How durations are spread.
 *
 * @param durations in nanoseconds, at least one.
 */
export function distributionOf(durations: readonly number[]): Distribution {
  const sorted = [...durations].sort((one, other) => one - other);
  const rank = (share: number) => sorted[Math.max(Math.ceil(share * sorted.length) - 1, 0)]!;
  return {
    count: sorted.length,
    min: sorted[0]!,
    median: rank(0.5),
    p99: rank(0.99),
    max: sorted.at(-1)!,
    histogram: histogramOf(sorted),
  };
}

function histogramOf(sorted: readonly number[]): Distribution["histogram"] {
  const power = (duration: number) => Math.max(Math.floor(Math.log2(Math.max(duration, 1))), 0);
  const first = power(sorted[0]!);
  const counts = new Array<number>(power(sorted.at(-1)!) - first + 1).fill(0);
  for (const duration of sorted) counts[power(duration) - first]!++;
  return counts.map((count, index) => ({ from: 2 ** (first + index), count }));
}

const BARS = " ▁▂▃▄▅▆▇█";

/** A histogram as text: one bar a bucket, the fullest a whole block; an empty bucket is a blank. */
export function histogramText(histogram: Distribution["histogram"]): string {
  const most = Math.max(...histogram.map(({ count }) => count));
  return histogram.map(({ count }) => BARS[Math.ceil((count / most) * 8)]).join("");
}
