import { type Chain, type Step, stepReached } from "./chain.ts";

/** The chains of a trace, and those among them that are not over. */
export class OpenChains {
  readonly #all: Chain[] = [];
  readonly #open = new Set<Chain>();
  readonly #dropped = new Set<Chain>();
  /** Those that a local APIC is known to have taken, not only to have been offered. */
  readonly #taken = new WeakSet<Chain>();
  /** Processes that run vCPUs: what they are given is never another's. */
  readonly #vmms = new Set<number>();
  /** The last chain that seemed to be merged with a pending one, by local APIC and vector. */
  readonly #merged = new Map<string, Chain>();

  /** Begins a chain. */
  begin(chain: Pick<Chain, "process" | "route" | "steps"> & Partial<Chain>): Chain {
    const { process, gsi = null, vector = null, delivery_mode = null, apic = null, route } = chain;
    const { trigger = null, steps, again = false } = chain;
    const about = { id: 0, process, gsi, vector, delivery_mode, apic, route, trigger };
    const begun: Chain = { ...about, steps, again, outcome: "unfinished", stopped: null };
    this.#all.push(begun);
    this.#open.add(begun);
    return begun;
  }

  /** Ends a chain. Without an outcome it is complete. */
  end(chain: Chain, outcome: Chain["outcome"] = "complete", why?: string): void {
    this.#open.delete(chain);
    chain.outcome = outcome;
    chain.stopped = why === undefined ? null : { at: stepReached(chain), why };
  }

  /**
   * Ends a chain that a local APIC took while another of its vector was pending.
   *
   * The events tell of the APIC's acts a little apart from them: another CPU may have taken the pending one
   * out of the IRR already, and then this one was no duplicate after all. See {@link unmerge}.
   */
  merge(chain: Chain, why: string): void {
    this.end(chain, "coalesced", why);
    this.#merged.set(bitOf(chain), chain);
  }

  /** Opens again what seemed merged, since its vector turns up once more than it otherwise could. */
  unmerge(about: Pick<Chain, "process" | "vector" | "apic">): Chain | undefined {
    const chain = this.#merged.get(bitOf(about));
    if (chain === undefined || chain.outcome !== "coalesced") return undefined;
    this.#merged.delete(bitOf(about));
    this.#open.add(chain);
    return chain;
  }

  /** Remembers that a local APIC has taken what it was offered. */
  isTaken(chain: Chain): void {
    this.#taken.add(chain);
  }

  /** Remembers that a process runs vCPUs. */
  isVmm(process: number | null): void {
    if (process !== null) this.#vmms.add(process);
  }

  /**
   * The oldest open chain that a process may go on with: its own before others', and never one of another
   * process that runs vCPUs. What raised an interrupt need not be the VM's process.
   */
  find(process: number | null, matches: (chain: Chain) => boolean): Chain | undefined {
    let foreign: Chain | undefined;
    for (const chain of this.#open) {
      if (!matches(chain)) continue;
      if (chain.process === process) return chain;
      const isAnothers = process !== null && chain.process !== null && this.#vmms.has(chain.process);
      if (!isAnothers) foreign ??= chain;
    }
    return foreign;
  }

  /** The open chain that has this vector in a local APIC's IRR, as far as the process's own events tell. */
  pending(process: number | null, vector: number, apic: number): Chain | undefined {
    for (const chain of this.#open) {
      const isInIrr = chain.vector === vector && chain.apic === apic && chain.steps.injected === undefined;
      if (isInIrr && chain.process === process) return chain;
    }
    return undefined;
  }

  /** Gives an open chain its last word: no event will go on with it. */
  leave(chain: Chain): void {
    const isUntold = chain.trigger === "edge" && stepReached(chain) === "posted";
    this.end(chain, isUntold ? "posted" : "unfinished", whyOpen(chain, this.#taken.has(chain)));
  }

  /** Forgets a chain that was no interrupt after all. */
  drop(chain: Chain): void {
    this.#open.delete(chain);
    this.#dropped.add(chain);
  }

  /** Gives every chain that is still open its last word. @returns all chains, in the order they began, numbered. */
  finish(): Chain[] {
    for (const chain of this.#open) this.leave(chain);
    const real = this.#all.filter((chain) => !isWithdrawn(chain) && !this.#dropped.has(chain));
    real.forEach((chain, index) => {
      chain.id = index + 1;
    });
    return real;
  }
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
