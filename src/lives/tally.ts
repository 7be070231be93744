import { type Chain, placeOf } from "./chain.ts";
import { type ChainStatistics, StatisticsCollector } from "./statistics.ts";

/** Unfinished interrupts that differ in time alone. */
export interface Unfinished {
  first: Chain;
  count: number;
}

/** What a trace comes to. What is kept of it does not grow with the number of interrupts. */
export class Tally {
  readonly outcomes: Record<Chain["outcome"], number> = {
    complete: 0,
    coalesced: 0,
    posted: 0,
    unfinished: 0,
  };
  /** Why an interrupt that the CPU was given is not told of any further; `undefined` when there was none. */
  whyPosted: string | undefined;
  readonly #statistics = new StatisticsCollector();
  readonly #unfinished = new Map<string, Unfinished>();

  add(chain: Chain): void {
    this.outcomes[chain.outcome]++;
    this.#statistics.add(chain);
    if (chain.outcome === "posted") this.whyPosted ??= chain.stopped!.why;
    if (chain.outcome === "unfinished") this.#addUnfinished(chain);
  }

  #addUnfinished(chain: Chain): void {
    const key = `${placeOf(chain)} ${chain.stopped?.at} ${chain.stopped?.why}`;
    const alike = this.#unfinished.get(key);
    if (alike === undefined) this.#unfinished.set(key, { first: chain, count: 1 });
    else {
      alike.count++;
      if (chain.id < alike.first.id) alike.first = chain;
    }
  }

  /** How many interrupts there were. */
  get count(): number {
    return Object.values(this.outcomes).reduce((sum, count) => sum + count);
  }

  /** In the order in which the first of each began. */
  get unfinished(): Unfinished[] {
    return [...this.#unfinished.values()].sort((one, other) => one.first.id - other.first.id);
  }

  statistics(): ChainStatistics[] {
    return this.#statistics.result();
  }
}

/** The first chains of a trace by when they began: as many as may be kept. */
export class FirstChains {
  readonly #most: number;
  #kept: Chain[] = [];
  /** Those that began later are none of the first. */
  #last = Number.POSITIVE_INFINITY;
  /** How many there were in all. */
  count = 0;

  constructor(most: number) {
    this.#most = most;
  }

  add(chain: Chain): void {
    this.count++;
    if (chain.id > this.#last) return;
    this.#kept.push(chain);
    // They come in the order of their ends, so that one which began first may come last.
    if (this.#kept.length >= 2 * this.#most) this.#cut();
  }

  #cut(): void {
    this.#kept.sort((one, other) => one.id - other.id);
    if (this.#kept.length < this.#most) return;
    this.#kept.length = this.#most;
    this.#last = this.#kept.at(-1)!.id;
  }

  get kept(): readonly Chain[] {
    this.#cut();
    return this.#kept;
  }
}
