import { type Step, stepReached } from "../../../lives/chain.ts";
import { type Beginning, type Chain, type Known, Life } from "./life.ts";

/** So many interrupts later nothing that comes changes an interrupt that is over. */
export const SETTLED_AFTER = 10_000;
/** The most interrupts that are followed at once; the oldest is given up for unfinished. */
const MOST_OPEN = 50_000;
/** How many are looked at in search of the one that an event goes on with. */
const MOST_LOOKED_AT = 1000;

/** Lives that events find by a number. */
type Index = Map<number, Set<Life>>;

/** The lives of a trace that are not over, and those that are so recently that it may turn out otherwise. */
export class OpenChains {
  readonly #onSettled: (chain: Chain) => void;
  readonly #isNone: (chain: Chain) => boolean;
  #begun = 0;
  readonly #open = new Set<Life>();
  /** Those that are over, the one that has been longest first, and from where on they are not settled. */
  #over: Life[] = [];
  #settled = 0;
  /** The numbers of those that were no interrupts after all. */
  readonly #none: number[] = [];
  /** By local APIC and vector: those not injected, and those that are; by input of a PIC all of a PIC's. */
  readonly #waiting: Index = new Map();
  readonly #inService: Index = new Map();
  readonly #ofPics: Index = new Map();
  /** Processes that run vCPUs: what they are given is never another's. */
  readonly #vmms = new Set<number>();
  /** The last chain that seemed to be merged with a pending one, by local APIC and vector. */
  readonly #merged = new Map<string, Life>();

  /**
   * @param onSettled gets each chain once it is over for certain. @param isNone whether a chain that is over was no
   *   interrupt after all.
   */
  constructor(onSettled: (chain: Chain) => void, isNone: (chain: Chain) => boolean) {
    this.#onSettled = onSettled;
    this.#isNone = isNone;
  }

  /** Begins a chain. */
  begin(beginning: Beginning, known: Known = {}): Life {
    const begun = new Life(++this.#begun, beginning, known);
    this.#reopen(begun);
    if (this.#open.size > MOST_OPEN) this.#leaveOldest();
    return begun;
  }

  /** Several at once, since a set is slow to tell its first after many were taken out. */
  #leaveOldest(): void {
    let left = MOST_OPEN / 10;
    for (const life of this.#open) {
      if (left-- === 0) break;
      this.leave(life);
    }
  }

  #reopen(life: Life): void {
    life.state = "open";
    this.#open.add(life);
    this.place(life);
  }

  /** Puts an open chain where events find it, after a change of its local APIC, its vector, its way or its injection. */
  place(life: Life): void {
    const { route, gsi, apic, vector, steps } = life;
    if (route === "pic") put(life, this.#ofPics, gsi! & 7);
    else put(life, steps.injected === undefined ? this.#waiting : this.#inService, keyOf(apic, vector));
  }

  /** Ends a chain. Without an outcome it is complete. */
  end(life: Life, outcome: Chain["outcome"] = "complete", why?: string): void {
    this.#open.delete(life);
    take(life);
    life.outcome = outcome;
    life.stopped = why === undefined ? null : { at: stepReached(life), why };
    if (life.state !== "open") return;
    life.state = "over";
    this.#over.push(life);
    if (this.#over.length - this.#settled > SETTLED_AFTER) this.#settleOldest();
  }

  #settleOldest(): void {
    this.#settle(this.#over[this.#settled++]!);
    if (this.#settled < SETTLED_AFTER) return;
    this.#over = this.#over.slice(this.#settled);
    this.#settled = 0;
  }

  /**
   * Ends a chain that a local APIC took while another of its vector was pending.
   *
   * The events tell of the APIC's acts a little apart from them: another CPU may have taken the pending one
   * out of the IRR already, and then this one was no duplicate after all. See {@link unmerge}.
   */
  merge(life: Life, why: string): void {
    this.end(life, "coalesced", why);
    this.#merged.set(bitOf(life), life);
  }

  /** Opens again what seemed merged, since its vector turns up once more than it otherwise could. */
  unmerge(about: Pick<Chain, "process" | "vector" | "apic">): Life | undefined {
    const life = this.#merged.get(bitOf(about));
    if (life === undefined || life.outcome !== "coalesced") return undefined;
    this.#merged.delete(bitOf(about));
    this.#reopen(life);
    return life;
  }

  /** Remembers that a process runs vCPUs. */
  isVmm(process: number | null): void {
    if (process !== null) this.#vmms.add(process);
  }

  /** The oldest that waits for a local APIC's vCPU to take this vector. @param apic `undefined` for any. */
  waitingFor(process: number | null, vector: number, apic: number | undefined): Life | undefined {
    return this.#oldest(process, withVector(this.#waiting, vector, apic), (life) => life.vector === vector);
  }

  /** The oldest that an EOI of this vector ends: one that was injected before one that was not. */
  endedBy(process: number | null, vector: number, apic: number): Life | undefined {
    const isOf = ofVector(vector, apic);
    return (
      this.#oldest(process, withVector(this.#inService, vector, apic), isOf) ??
      this.#oldest(process, withVector(this.#waiting, vector, apic), isOf)
    );
  }

  /** The oldest of a PIC's input that matches. @param pin its low three bits. */
  ofPic(process: number | null, pin: number, matches: (life: Life) => boolean): Life | undefined {
    return this.#oldest(process, [this.#ofPics.get(pin & 7)], matches);
  }

  /** The oldest that was injected without anything seen of its line, and may be of this input of a PIC. */
  injectedFrom(process: number | null, pin: number): Life | undefined {
    const vectors = Array.from({ length: 32 }, (_, high) =>
      this.#inService.get(keyOf(null, high * 8 + (pin & 7))),
    );
    return this.#oldest(
      process,
      vectors,
      ({ route, vector }) => route === "local" && vector! % 8 === pin % 8,
    );
  }

  /** The chain that has this vector in a local APIC's IRR, as far as the process's own events tell. */
  pending(process: number | null, vector: number, apic: number): Life | undefined {
    return this.#oldest(
      process,
      [this.#waiting.get(keyOf(apic, vector))],
      (life) => life.vector === vector && life.apic === apic && life.process === process,
    );
  }

  /**
   * The oldest that a process may go on with: its own before others', and never one of another process that
   * runs vCPUs. What raised an interrupt need not be the VM's process.
   */
  #oldest(
    process: number | null,
    buckets: Iterable<Set<Life> | undefined>,
    matches: (life: Life) => boolean,
  ): Life | undefined {
    let own: Life | undefined;
    let foreign: Life | undefined;
    let looked = 0;
    for (const bucket of buckets) {
      for (const life of bucket ?? []) {
        if (++looked > MOST_LOOKED_AT) return own ?? foreign;
        if (!matches(life)) continue;
        if (life.process === process) {
          if (own === undefined || life.id < own.id) own = life;
          break;
        }
        if (!this.#isAnothers(life, process) && (foreign === undefined || life.id < foreign.id))
          foreign = life;
      }
    }
    return own ?? foreign;
  }

  #isAnothers(life: Life, process: number | null): boolean {
    return process !== null && life.process !== null && this.#vmms.has(life.process);
  }

  /** Closes an open chain as it stands: no event will go on with it. */
  leave(life: Life): void {
    const isUntold = life.trigger === "edge" && stepReached(life) === "posted";
    this.end(life, isUntold ? "posted" : "unfinished", whyOpen(life, life.isTaken));
  }

  /** Forgets a chain that was no interrupt after all. */
  drop(life: Life): void {
    this.#open.delete(life);
    life.state = "gone";
    take(life);
    this.#none.push(life.id);
  }

  /** Closes every chain, and hands on those that were not yet. */
  finish(): void {
    for (const life of this.#open) this.leave(life);
    while (this.#settled < this.#over.length) this.#settleOldest();
  }

  /** Hands on a chain, unless it was opened again or dropped since. */
  #settle(life: Life): void {
    if (life.state !== "over") return;
    life.state = "gone";
    if (life.outcome === "coalesced" && this.#merged.get(bitOf(life)) === life)
      this.#merged.delete(bitOf(life));
    if (isWithdrawn(life) || this.#isNone(life)) this.#none.push(life.id);
    else this.#onSettled(life);
  }

  /** Sorts chains that were handed on by when they began, and numbers them as if all there were had been counted. */
  numbered(chains: readonly Chain[]): Chain[] {
    const none = this.#none.sort((one, other) => one - other);
    let before = 0;
    return [...chains]
      .sort((one, other) => one.id - other.id)
      .map((chain) => {
        while (before < none.length && none[before]! < chain.id) before++;
        return { ...chain, id: chain.id - before };
      });
  }
}

/** Vectors have 8 bits; those of a trace made by hand may collide, so that whoever finds one looks again. */
function keyOf(apic: number | null, vector: number | null): number {
  return (apic ?? -1) * 256 + (vector ?? -1);
}

/** Whether a chain may be one of this vector in this local APIC. */
function ofVector(vector: number, apic: number): (life: Life) => boolean {
  return (life) => life.vector === vector && (life.apic === null || life.apic === apic);
}

function withVector(index: Index, vector: number, apic: number | undefined): Iterable<Set<Life> | undefined> {
  return apic === undefined
    ? index.values()
    : [index.get(keyOf(apic, vector)), index.get(keyOf(null, vector))];
}

function put(life: Life, index: Index, key: number): void {
  const bucket = index.get(key) ?? newBucket(index, key);
  if (life.bucket === bucket) return;
  take(life);
  life.bucket = bucket.add(life);
}

/** Empty buckets stay, since most are soon filled again, until there are more of all than of lives. */
function newBucket(index: Index, key: number): Set<Life> {
  if (index.size > 2 * MOST_OPEN) for (const [key, { size }] of index) if (size === 0) index.delete(key);
  const bucket = new Set<Life>();
  index.set(key, bucket);
  return bucket;
}

function take(life: Life): void {
  life.bucket?.delete(life);
  life.bucket = undefined;
}

/** The bit of an IRR that a chain has or had. */
function bitOf({ process, apic, vector }: Pick<Chain, "process" | "vector" | "apic">): string {
  return `${process} ${apic} ${vector}`;
}

/** A PIC presents a level pin anew when it was acknowledged, and takes that back when the line goes down. */
function isWithdrawn({ route, again, steps }: Chain): boolean {
  return route === "pic" && again && steps.injected === undefined && steps.acknowledged === undefined;
}

function whyOpen(chain: Chain, isTaken: boolean): string {
  const reached: Step = stepReached(chain);
  if (reached === "injected") return "the guest has not ended it: no EOI";
  if (reached === "posted") {
    return chain.trigger === "level"
      ? "handed to the CPU (APICv or AVIC), and the guest has not ended it: no EOI"
      : "handed to the CPU (APICv or AVIC), which injects and ends it without KVM";
  }
  if (chain.route === "pic") return "no vCPU has taken it from the PIC";
  const pending = "pending in the local APIC, not injected";
  return isTaken ? pending : `${pending}, or dropped: the local APIC is software-disabled`;
}
