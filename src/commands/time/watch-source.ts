import { type Looking, takeReading } from "../../operations/look-again.ts";
import { readSource } from "../../operations/take-snapshot.ts";
import type { Observation } from "../../rules/observe.ts";
import type { Cost } from "../../text/watch.ts";
import type { ThreadStop } from "../../vm/reading.ts";
import type { Snapshot } from "../../vm/snapshot.ts";
import type { Source } from "../../vm/source.ts";

/** The share of a CPU is taken over the last so many milliseconds. */
const COST_WINDOW_MS = 5000;

/** A target that is read again and again, and what that takes. */
export class WatchSource {
  readonly #source: Source;
  readonly #words: readonly string[];
  readonly #options: Looking;
  #last: Observation | undefined;
  #costs = [costNow()];
  readonly #start = costNow();
  /** Of all readings: the most threads that one stopped, and the longest stop. */
  #most: Cost["stops"];
  /** Of the last reading. */
  #lastStops: Cost["stops"];

  /** @param words the chips to read, as `--chip` takes them; none means all. */
  constructor(source: Source, words: readonly string[], options: Looking) {
    this.#source = source;
    this.#words = words;
    this.#options = options;
  }

  /** Reads once more. @throws KvmIrqError when the target has ended or refuses. */
  async next(): Promise<Observation> {
    const { observation } = await takeReading(() => this.#look(), { ...this.#options, previous: this.#last });
    this.#last = observation;
    return observation;
  }

  async #look(): Promise<Snapshot> {
    const { snapshot, stops: all } = await readSource(this.#source, this.#words, ["routes"]);
    this.#lastStops = stopsOf(all);
    const stops = this.#lastStops;
    if (stops !== undefined) {
      const { threads = 0, longestNs = 0 } = this.#most ?? {};
      this.#most = {
        threads: Math.max(threads, stops.threads),
        longestNs: Math.max(longestNs, stops.longestNs),
      };
    }
    return snapshot;
  }

  /** Resolves when the target has ended, where that is told without asking. */
  async ended(): Promise<void> {
    await (this.#source.ended?.() ?? new Promise(() => {}));
  }

  /** What watching takes: this process's share of a CPU of late, and the stops of the last reading. */
  cost(): Cost {
    const now = costNow();
    // The last one before the window begins it: who asks seldom has no other.
    const begin = this.#costs.findLastIndex(({ at }) => now.at - at >= COST_WINDOW_MS);
    this.#costs = [...this.#costs.slice(Math.max(begin, 0)), now];
    return costOf(this.#costs[0]!, now, this.#lastStops);
  }

  /** What it took from the beginning: the share of a CPU over all, and the longest stop of all readings. */
  wholeCost(): Cost {
    return costOf(this.#start, costNow(), this.#most);
  }
}

function stopsOf(stops: readonly ThreadStop[]): Cost["stops"] {
  if (stops.length === 0) return undefined;
  return { threads: stops.length, longestNs: Math.max(...stops.map(({ ns }) => ns)) };
}

type Sample = ReturnType<typeof costNow>;

function costOf(from: Sample, to: Sample, stops: Cost["stops"]): Cost {
  const cpu = to.at > from.at ? (to.cpuMs - from.cpuMs) / (to.at - from.at) : 0;
  return stops === undefined ? { cpu } : { cpu, stops };
}

function costNow(): { at: number; cpuMs: number } {
  const { user, system } = process.cpuUsage();
  return { at: performance.now(), cpuMs: (user + system) / 1000 };
}
