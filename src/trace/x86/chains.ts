import { type ArgValue, numberArg, strandOf, type TraceEvent } from "../event.ts";
import { apicOf, gsiOfAck, isIoapicAck, redirectionOf, vectorOf } from "./args.ts";
import type { Chain } from "./chain.ts";
import { OpenChains } from "./open-chains.ts";
import { maySendMsi, newRaise, type Raise, refusalOf } from "./raise.ts";
import { UnansweredMsis } from "./unanswered-msis.ts";
import { vectorlessModeOf, whyNothing } from "./vectorless.ts";

/**
 * Joins events into the lives of single interrupts.
 *
 * @param events in the order of time.
 * @returns chains in the order in which they began.
 */
export function chainsOf(events: Iterable<TraceEvent>): Chain[] {
  const joiner = new ChainJoiner();
  for (const event of events) joiner.push(event);
  return joiner.finish();
}

const PENDING_IN_APIC = "pending in the local APIC already";

/** What one strand is in the middle of. */
interface Strand {
  raise?: Raise | undefined;
  /** The chain whose EOI it has just told of. */
  ended?: Chain | undefined;
}

/**
 * Joins events into chains, one event at a time.
 *
 * Tracepoints name neither the VM nor the interrupt, so both are worked out: what a strand tells behind a
 * `kvm_set_irq` belongs to that rise of the line, and a vector that a vCPU takes or ends belongs to the
 * oldest interrupt that waits for it.
 */
export class ChainJoiner {
  readonly #chains = new OpenChains();
  readonly #unanswered = new UnansweredMsis();
  readonly #strands = new Map<string, Strand>();
  /** Lines that are up, with the chains that came of it. */
  readonly #lines = new Map<string, Chain[]>();
  readonly #lineOfChain = new WeakMap<Chain, string>();
  /** The local APIC that each vCPU's thread has. */
  readonly #apicOfThread = new Map<number, number>();
  /** The vector base of each PIC that gave it away. */
  readonly #picBase = new Map<string, number>();

  push(event: TraceEvent): void {
    const key = strandOf(event);
    const strand = this.#strands.get(key) ?? {};
    this.#strands.set(key, strand);
    const { ended } = strand;
    strand.ended = undefined;
    switch (event.event) {
      case "kvm_set_irq":
        this.#settle(strand);
        if (numberArg(event, "level") === 0) this.#lower(event);
        else this.#raise(event, strand);
        break;
      case "kvm_msi_set_irq":
        this.#sendMsi(event, strand);
        break;
      case "kvm_pic_set_irq":
        if (strand.raise !== undefined) this.#picAnswers(event, strand.raise);
        break;
      case "kvm_ioapic_set_irq":
        // A second answer is none: a restored IOAPIC speaks for every pin that it finds pending.
        if (strand.raise?.ioapicAnswered === true) this.#settle(strand);
        if (strand.raise !== undefined) this.#ioapicAnswers(event, strand.raise);
        break;
      case "kvm_apic_accept_irq":
        this.#apicAccepts(event, strand, ended);
        break;
      case "kvm_apicv_accept_irq":
        this.#handToCpu(event);
        break;
      case "kvm_inj_virq":
        this.#settle(strand);
        this.#inject(event);
        break;
      case "kvm_eoi":
      case "kvm_pv_eoi":
        this.#settle(strand);
        strand.ended = this.#endOfInterrupt(event);
        break;
      case "kvm_ack_irq":
        this.#settle(strand);
        strand.ended = isIoapicAck(event) ? ioapicAcknowledges(event, ended) : undefined;
        if (!isIoapicAck(event)) this.#picAcknowledges(event);
        break;
    }
  }

  /** @returns every chain; those that are not over are `unfinished`. */
  finish(): Chain[] {
    for (const strand of this.#strands.values()) this.#settle(strand);
    for (const chain of this.#unanswered.looks()) this.#chains.drop(chain);
    return this.#chains.finish();
  }

  #raise(event: TraceEvent, strand: Strand): void {
    const line = lineOf(event);
    strand.raise = newRaise(event, numberArg(event, "gsi"), this.#lines.has(line));
    if (!strand.raise.wasUp) this.#lines.set(line, []);
  }

  #lower(event: TraceEvent): void {
    const line = lineOf(event);
    for (const chain of this.#lines.get(line) ?? []) chain.steps.lowered = event.time;
    this.#lines.delete(line);
  }

  #sendMsi(event: TraceEvent, strand: Strand): void {
    if (strand.raise === undefined || !maySendMsi(strand.raise)) {
      this.#settle(strand);
      strand.raise = newRaise(event, null, false);
    }
    strand.raise.msi = { vector: vectorOf(event)!, delivery_mode: vectorlessModeOf(event) };
  }

  /** The strand goes on to something else: what its last rise came to is known. */
  #settle(strand: Strand): void {
    const { raise } = strand;
    strand.raise = undefined;
    if (raise === undefined) return;
    for (const chain of raise.unclaimed.keys()) this.#disown(chain, raise);
    if (raise.accepted.length > 0 || raise.wasUp) return;
    const { vector = null, delivery_mode = null } = raise.msi ?? {};
    const known = { vector: delivery_mode === null ? vector : null, delivery_mode };
    const chain = this.#begin(raise, { ...known, route: "none" });
    this.#chains.end(chain, raise.coalesced ? "coalesced" : "unfinished", refusalOf(raise));
    if (raise.gsi === null) this.#unanswered.add(raise.event, chain);
  }

  /** Begins a chain that came of a rise. */
  #begin(raise: Raise, known: Pick<Chain, "route"> & Partial<Chain>): Chain {
    const { process, time } = raise.event;
    const steps = { raised: time, ...known.steps };
    const chain = this.#chains.begin({ process, gsi: raise.gsi, ...known, steps });
    if (raise.gsi !== null) this.#tie(chain, lineOf(raise.event));
    return chain;
  }

  /** A local APIC's interrupt that came between a rise and its end was not the rise's after all. */
  #disown(chain: Chain, raise: Raise): void {
    raise.accepted.splice(raise.accepted.indexOf(chain), 1);
    if (chain.delivery_mode !== null) this.#chains.drop(chain);
    delete chain.steps.raised;
    delete chain.steps.lowered;
    chain.route = "local";
    chain.gsi = null;
    const line = this.#lines.get(lineOf(raise.event));
    line?.splice(line.indexOf(chain), 1);
    this.#lineOfChain.delete(chain);
  }

  #picAnswers(event: TraceEvent, raise: Raise): void {
    raise.picAnswered = true;
    // A pin that is up already gives no edge, and as a level it is presented already.
    if (raise.wasUp) return;
    const pin = numberArg(event, "pin");
    const isSet = (field: string) => ((numberArg(event, field) >> pin) & 1) === 1;
    if (isSet("imr")) {
      raise.refusals.push("masked in the PIC");
    } else if (isTrue(event.args["coalesced"])) {
      raise.refusals.push("pending in the PIC already");
      raise.coalesced = true;
    } else {
      const trigger = isSet("elcr") ? "level" : "edge";
      raise.accepted.push(this.#begin(raise, { route: "pic", trigger, steps: { accepted: event.time } }));
    }
  }

  #ioapicAnswers(event: TraceEvent, raise: Raise): void {
    const entry = redirectionOf(event);
    const coalesced = isTrue(event.args["coalesced"]);
    const own = [...raise.unclaimed].flatMap(([chain, vector]) => (vector === entry.vector ? chain : []));
    for (const chain of own) raise.unclaimed.delete(chain);
    raise.ioapicAnswered = true;
    // KVM says coalesced of what nobody took; of a vector that is in the IRR already it says delivered.
    for (const chain of own) {
      if (chain.delivery_mode !== null) this.#endVectorless(chain, coalesced);
      else if (coalesced)
        this.#chains.end(chain, "unfinished", "refused: the local APIC is software-disabled");
    }
    if (!coalesced && own.length === 1) this.#chains.isTaken(own[0]!);
    if (own.length > 0) return;
    raise.coalesced ||= coalesced;
    if (entry.mask) raise.refusals.push("masked in the IOAPIC");
    else if (coalesced)
      raise.refusals.push("pending in the IOAPIC already, or no local APIC at the destination");
    else
      raise.refusals.push("not delivered by the IOAPIC: remote IRR set, or no local APIC at the destination");
  }

  #apicAccepts(event: TraceEvent, strand: Strand, ended: Chain | undefined): void {
    const { raise } = strand;
    const vector = vectorOf(event)!;
    const delivery_mode = vectorlessModeOf(event);
    const hasVector = delivery_mode === null;
    const pending = hasVector ? this.#chains.pending(event.process, vector, apicOf(event)) : undefined;
    const known = {
      vector: hasVector ? vector : null,
      delivery_mode,
      apic: apicOf(event),
      trigger: numberArg(event, "tm") === 0 ? ("edge" as const) : ("level" as const),
      steps: { accepted: event.time },
    };
    let chain: Chain;
    if (raise !== undefined && raise.msi?.vector === vector) {
      chain = this.#begin(raise, { ...known, route: "msi" });
      raise.accepted.push(chain);
      if (!hasVector) this.#endVectorless(chain);
    } else if (raise !== undefined && raise.msi === undefined && !raise.ioapicAnswered) {
      chain = this.#begin(raise, { ...known, route: "ioapic" });
      raise.accepted.push(chain);
      raise.unclaimed.set(chain, vector);
    } else {
      this.#settle(strand);
      if (!hasVector) return;
      chain = this.#acceptAlone(event, known, ended);
    }
    if (pending?.steps.posted !== undefined) this.#chains.leave(pending);
    else if (pending !== undefined) this.#chains.merge(chain, PENDING_IN_APIC);
  }

  /** What has no vector is over once a local APIC has taken it: KVM tells no more of it. */
  #endVectorless(chain: Chain, isRefused = false): void {
    const refusal = isRefused ? "refused by the local APIC" : undefined;
    const why = whyNothing(chain.delivery_mode!) ?? refusal;
    this.#chains.end(chain, why === undefined ? "complete" : "unfinished", why);
  }

  /** A vector without a rise: a level line that is still up at the EOI, the APIC's own timer, an IPI. */
  #acceptAlone(
    event: TraceEvent,
    known: Partial<Chain> & Pick<Chain, "steps">,
    ended: Chain | undefined,
  ): Chain {
    const again = ended?.vector === known.vector && ended?.trigger === "level";
    const chain = this.#chains.begin({
      process: event.process,
      ...known,
      route: again ? "ioapic" : "local",
      gsi: again ? ended.gsi : null,
      again,
    });
    if (again) this.#follow(ended, chain);
    return chain;
  }

  /** The fall of the line will be the chain's. */
  #tie(chain: Chain, line: string): void {
    this.#lines.get(line)?.push(chain);
    this.#lineOfChain.set(chain, line);
  }

  /** What will lower the line of one chain will lower that of its successor. */
  #follow(chain: Chain, successor: Chain): void {
    const line = this.#lineOfChain.get(chain);
    if (line !== undefined && chain.steps.lowered === undefined) this.#tie(successor, line);
  }

  #handToCpu(event: TraceEvent): void {
    const chain =
      vectorlessModeOf(event) === null
        ? this.#chains.pending(event.process, vectorOf(event)!, apicOf(event))
        : undefined;
    if (chain !== undefined) chain.steps.posted ??= event.time;
  }

  #inject(event: TraceEvent): void {
    const { process, pid, time } = event;
    if (isTrue(event.args["soft"]) || isTrue(event.args["reinjected"])) return;
    this.#runsVcpu(event);
    const vector = vectorOf(event)!;
    const chain =
      this.#waitingFor(vector, event) ??
      this.#chains.unmerge({ process, vector, apic: this.#apicOfThread.get(event.pid) ?? null }) ??
      this.#chains.begin({ process, route: "local", steps: {} });
    chain.steps.injected = time;
    chain.vector = vector;
    chain.process = process;
    if (chain.apic !== null) this.#apicOfThread.set(pid, chain.apic);
  }

  #runsVcpu(event: TraceEvent): void {
    this.#chains.isVmm(event.process);
    this.#unanswered.isVcpu(event);
  }

  #waitingFor(vector: number, { process, pid }: TraceEvent): Chain | undefined {
    const apic = this.#apicOfThread.get(pid);
    const waits = (chain: Chain) => chain.steps.accepted !== undefined && chain.steps.injected === undefined;
    return (
      this.#chains.find(
        process,
        (chain) => waits(chain) && chain.vector === vector && (apic === undefined || chain.apic === apic),
      ) ??
      this.#chains.find(process, (chain) => {
        if (!waits(chain) || chain.route !== "pic" || chain.gsi! % 8 !== vector % 8) return false;
        const base = this.#picBase.get(picOf(process, chain.gsi!));
        return base === undefined || base === vector - (vector % 8);
      })
    );
  }

  #endOfInterrupt(event: TraceEvent): Chain | undefined {
    const { process, pid, time } = event;
    const vector = vectorOf(event)!;
    const apic = apicOf(event);
    this.#runsVcpu(event);
    this.#apicOfThread.set(pid, apic);
    const inService = (chain: Chain) =>
      chain.route !== "pic" && chain.vector === vector && (chain.apic === null || chain.apic === apic);
    const chain =
      this.#chains.find(
        process,
        (candidate) => inService(candidate) && candidate.steps.injected !== undefined,
      ) ??
      this.#chains.find(process, inService) ??
      this.#chains.unmerge({ process, vector, apic });
    if (chain === undefined) return undefined;
    chain.steps.eoi = time;
    chain.apic = apic;
    chain.process = process;
    this.#chains.end(chain);
    return chain;
  }

  #picAcknowledges(event: TraceEvent): void {
    const { process, time } = event;
    const gsi = gsiOfAck(event);
    const chain =
      this.#chains.find(process, (candidate) => candidate.route === "pic" && candidate.gsi === gsi) ??
      this.#chains.find(process, (candidate) => wasTakenFromPin(candidate, gsi));
    if (chain === undefined) return;
    chain.steps.acknowledged = time;
    chain.route = "pic";
    chain.gsi = gsi;
    this.#chains.isVmm(process);
    this.#chains.end(chain);
    if (chain.vector !== null) this.#picBase.set(picOf(process, gsi), chain.vector - (chain.vector % 8));
    const isUp = this.#lineOfChain.has(chain) && chain.steps.lowered === undefined;
    if (chain.trigger === "level" && isUp) this.#presentAgain(chain, time);
  }

  #presentAgain(chain: Chain, time: number): void {
    const { process, gsi } = chain;
    const steps = { accepted: time };
    this.#follow(
      chain,
      this.#chains.begin({ process, gsi, route: "pic", trigger: "level", steps, again: true }),
    );
  }
}

function ioapicAcknowledges(event: TraceEvent, ended: Chain | undefined): Chain | undefined {
  if (ended !== undefined) ended.steps.acknowledged ??= event.time;
  return ended;
}

/** Whether a vCPU took this chain's vector without anything seen of its line, and it may be this pin's. */
function wasTakenFromPin({ route, apic, vector, steps }: Chain, gsi: number): boolean {
  return route === "local" && apic === null && steps.injected !== undefined && vector! % 8 === gsi % 8;
}

/** A line is a VM's, a GSI's and a source's: the levels of all sources together make the GSI's. */
function lineOf(event: TraceEvent): string {
  return `${event.process} ${numberArg(event, "gsi")} ${numberArg(event, "irq_source_id")}`;
}

function picOf(process: number | null, gsi: number): string {
  return `${process} ${gsi >> 3}`;
}

function isTrue(value: ArgValue | undefined): boolean {
  return value === true || value === 1;
}
