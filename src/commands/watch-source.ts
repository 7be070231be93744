import type { Observation } from "../diagnose/watch.ts";
import type { Cost } from "../render/watch.ts";
import { readTarget } from "../target/take-snapshot.ts";
import type { Target } from "../target/target.ts";
import { type Looking, takeReading } from "./look-again.ts";

/** The share of a CPU is taken over the last so many milliseconds. */
const COST_WINDOW_MS = 5000;

/** A target that is read again and again, and what that takes. */
export class WatchSource {
  readonly #target: Target;
  readonly #words: readonly string[];
  readonly #options: Looking;
  #last: Observation | undefined;
  #costs = [costNow()];

  /** @param words the chips to read, as `--chip` takes them; none means all. */
  constructor(target: Target, words: readonly string[], options: Looking) {
    this.#target = target;
    this.#words = words;
    this.#options = options;
  }

  /** Reads once more. @throws KvmIrqError when the target has ended or refuses. */
  async next(): Promise<Observation> {
    const look = async () => (await readTarget(this.#target, this.#words)).snapshot;
    const { observation } = await takeReading(look, { ...this.#options, previous: this.#last });
    this.#last = observation;
    return observation;
  }

  /** Resolves when the target has ended, where that is told without asking. */
  async ended(): Promise<void> {
    await (this.#target.ended?.() ?? new Promise(() => {}));
  }

  /** What watching takes: this process's share of a CPU of late, and the stops of the last reading. */
  cost(): Cost {
    const now = costNow();
    this.#costs = [...this.#costs.filter(({ at }) => now.at - at <= COST_WINDOW_MS), now];
    const [first = now] = this.#costs;
    const cpu = now.at > first.at ? (now.cpuMs - first.cpuMs) / (now.at - first.at) : 0;
    const stops = this.#target.lastStops;
    if (stops === undefined) return { cpu };
    return { cpu, stops: { threads: stops.length, longestNs: Math.max(0, ...stops.map(({ ns }) => ns)) } };
  }
}

function costNow(): { at: number; cpuMs: number } {
  const { user, system } = process.cpuUsage();
  return { at: performance.now(), cpuMs: (user + system) / 1000 };
}
