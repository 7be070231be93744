import type { Chain as AnyChain, Route, Step } from "../../../lives/chain.ts";
import type { VectorlessMode } from "../events/vectorless.ts";

/** The life of an interrupt of x86. */
export type Chain = AnyChain<VectorlessMode>;

/** A line as it is told from others: a number where it fits into one, since that is faster. */
export type Line = number | string;

/** What each chain begins with, and what else may be known of it by then. */
export type Beginning = Pick<Chain, "process" | "gsi" | "route" | "steps">;
export type Known = Partial<Pick<Chain, "vector" | "delivery_mode" | "apic" | "trigger" | "again">>;

/** A chain while it is being joined; what only the joiner knows of it stays out of what others see. */
export class Life implements Chain {
  id: number;
  process: number | null;
  gsi: number | null;
  vector: number | null;
  delivery_mode: VectorlessMode | null;
  apic: number | null;
  route: Route;
  trigger: Chain["trigger"];
  steps: Partial<Record<Step, number>>;
  again: boolean;
  outcome: Chain["outcome"] = "unfinished";
  stopped: Chain["stopped"] = null;
  #line: Line | undefined;
  #isTaken = false;
  #state: "open" | "over" | "gone" = "open";
  #bucket: Set<Life> | undefined;

  constructor(id: number, { process, gsi, route, steps }: Beginning, known: Known) {
    this.id = id;
    this.process = process;
    this.gsi = gsi;
    this.vector = known.vector ?? null;
    this.delivery_mode = known.delivery_mode ?? null;
    this.apic = known.apic ?? null;
    this.route = route;
    this.trigger = known.trigger ?? null;
    this.steps = steps;
    this.again = known.again ?? false;
  }

  /** The line whose fall will be its own. */
  get line(): Line | undefined {
    return this.#line;
  }

  set line(line: Line | undefined) {
    this.#line = line;
  }

  /** Whether a local APIC is known to have taken it, not only to have been offered it. */
  get isTaken(): boolean {
    return this.#isTaken;
  }

  set isTaken(isTaken: boolean) {
    this.#isTaken = isTaken;
  }

  /** `gone`: handed on, or no interrupt after all. */
  get state(): "open" | "over" | "gone" {
    return this.#state;
  }

  set state(state: "open" | "over" | "gone") {
    this.#state = state;
  }

  /** Those that it is searched among. */
  get bucket(): Set<Life> | undefined {
    return this.#bucket;
  }

  set bucket(bucket: Set<Life> | undefined) {
    this.#bucket = bucket;
  }
}
