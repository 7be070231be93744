import { type Joiner, joinAll } from "../../../lives/joiner.ts";
import { type ArgValue, numberArg, strandOf, type TraceEvent } from "../../../tracefs/event.ts";
import { apicOf, gsiOfAck, isIoapicAck, isMasked } from "../events/args.ts";
import { rowOf, vectorlessModeOf, vectorOf } from "../events/rows.ts";
import { whyNothing } from "../events/vectorless.ts";
import type { Chain, Known, Life } from "./life.ts";
import { forgetOldest, Lines } from "./lines.ts";
import { OpenChains } from "./open-chains.ts";
import { maySendMsi, newRaise, type Raise, refusalOf } from "./raise.ts";
import { UnansweredMsis } from "./unanswered-msis.ts";

/**
 * Joins events into the lives of single interrupts.
 *
 * @param events in the order of time.
 * @returns chains in the order in which they began.
 */
export function chainsOf(events: Iterable<TraceEvent>): Chain[] {
  return joinAll((onChain: (chain: Chain) => void) => new ChainJoiner(onChain), events);
}

const PENDING_IN_APIC = "pending in the local APIC already";

/** What one strand is in the middle of. */
interface Strand {
  raise?: Raise | undefined;
  /** The chain whose EOI it has just told of. */
  ended?: Life | undefined;
}

/**
 * Joins events into chains, one event at a time.
 *
 * Tracepoints name neither the VM nor the interrupt, so both are worked out: what a strand tells behind a
 * `kvm_set_irq` belongs to that rise of the line, and a vector that a vCPU takes or ends belongs to the
 * oldest interrupt that waits for it.
 */
export class ChainJoiner implements Joiner<Chain> {
  readonly #chains: OpenChains;
  readonly #unanswered = new UnansweredMsis();
  readonly #strands = new Map<number, Strand>();
  readonly #lines = new Lines();
  /** The local APIC that each vCPU's thread has. */
  readonly #apicOfThread = new Map<number, number>();
  /** The vector base of each PIC that gave it away. */
  readonly #picBase = new Map<string, number>();

  /**
   * @param onChain gets each chain once it is over and {@link SETTLED_AFTER} more are, or at the end; its `id` tells
   *   which began first. What is kept does not grow with the trace.
   */
  constructor(onChain: (chain: Chain) => void) {
    this.#chains = new OpenChains(onChain, (chain) => this.#unanswered.isLook(chain));
  }

  push(event: TraceEvent): void {
    const strand = this.#strandOf(event);
    const { ended } = strand;
    strand.ended = undefined;
    const part = rowOf(event)?.part;
    switch (part) {
      case "line":
        this.#settle(strand);
        if (numberArg(event, "level") === 0) this.#lines.fall(event);
        else strand.raise = newRaise(event, numberArg(event, "gsi"), this.#lines.rise(event));
        break;
      case "msi":
        this.#sendMsi(event, strand);
        break;
      case "pic":
        if (strand.raise !== undefined) this.#picAnswers(event, strand.raise);
        break;
      case "ioapic":
        // A second answer is none: a restored IOAPIC speaks for every pin that it finds pending.
        if (strand.raise?.ioapicAnswered === true) this.#settle(strand);
        if (strand.raise !== undefined) this.#ioapicAnswers(event, strand.raise);
        break;
      case "accepted":
        this.#apicAccepts(event, strand, ended);
        break;
      case "posted":
        this.#handToCpu(event);
        break;
      case "injected":
        this.#settle(strand);
        this.#inject(event);
        break;
      case "eoi":
        this.#settle(strand);
        strand.ended = this.#endOfInterrupt(event);
        break;
      case "acknowledged":
        this.#settle(strand);
        strand.ended = isIoapicAck(event) ? ioapicAcknowledges(event, ended) : undefined;
        if (!isIoapicAck(event)) this.#picAcknowledges(event);
        break;
      case "none":
      case undefined:
        break;
      default:
        part satisfies never;
    }
  }

  #strandOf(event: TraceEvent): Strand {
    const key = strandOf(event);
    const known = this.#strands.get(key);
    if (known !== undefined) return known;
    const strand: Strand = {};
    this.#strands.set(key, strand);
    const forgotten = forgetOldest(this.#strands);
    if (forgotten !== undefined) this.#settle(forgotten);
    return strand;
  }

  /** Hands on every chain that was not yet; those that are not over are `unfinished`. */
  finish(): void {
    for (const strand of this.#strands.values()) this.#settle(strand);
    this.#chains.finish();
  }

  numbered(chains: readonly Chain[]): Chain[] {
    return this.#chains.numbered(chains);
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
    for (const { chain } of raise.unclaimed) this.#disown(chain, raise);
    if (raise.accepted.length > 0 || raise.wasUp) return;
    const { vector = null, delivery_mode = null } = raise.msi ?? {};
    const known = { vector: delivery_mode === null ? vector : null, delivery_mode };
    const chain = this.#begin(raise, "none", { raised: raise.event.time }, known);
    this.#chains.end(chain, raise.coalesced ? "coalesced" : "unfinished", refusalOf(raise));
    if (raise.gsi === null) this.#unanswered.add(raise.event, chain);
  }

  /** Begins a chain that came of a rise. */
  #begin({ event, gsi }: Raise, route: Chain["route"], steps: Chain["steps"], known: Known): Life {
    const chain = this.#chains.begin({ process: event.process, gsi, route, steps }, known);
    if (gsi !== null) this.#lines.tieToRise(chain, event);
    return chain;
  }

  /** A local APIC's interrupt that came between a rise and its end was not the rise's after all. */
  #disown(chain: Life, raise: Raise): void {
    raise.accepted.splice(raise.accepted.indexOf(chain), 1);
    if (chain.delivery_mode !== null) this.#chains.drop(chain);
    delete chain.steps.raised;
    chain.route = "local";
    chain.gsi = null;
    this.#lines.untie(chain, raise.event);
  }

  #picAnswers(event: TraceEvent, raise: Raise): void {
    raise.picAnswered = true;
    // A pin that is up already gives no edge, and as a level it is presented already.
    if (raise.wasUp) return;
    const pin = numberArg(event, "pin");
    if (isSet(event, "imr", pin)) {
      raise.refusals.push("masked in the PIC");
    } else if (isTrue(event.args["coalesced"])) {
      raise.refusals.push("pending in the PIC already");
      raise.coalesced = true;
    } else {
      const trigger = isSet(event, "elcr", pin) ? "level" : "edge";
      const steps = { raised: raise.event.time, accepted: event.time };
      raise.accepted.push(this.#begin(raise, "pic", steps, { trigger }));
    }
  }

  #ioapicAnswers(event: TraceEvent, raise: Raise): void {
    const { unclaimed } = raise;
    const coalesced = isTrue(event.args["coalesced"]);
    const answered = vectorOf(event);
    const own: Life[] = [];
    for (let at = 0; at < unclaimed.length; at++) {
      if (unclaimed[at]!.vector === answered) own.push(unclaimed.splice(at--, 1)[0]!.chain);
    }
    raise.ioapicAnswered = true;
    // KVM says coalesced of what nobody took; of a vector that is in the IRR already it says delivered.
    for (const chain of own) {
      if (chain.delivery_mode !== null) this.#endVectorless(chain, coalesced);
      else if (coalesced)
        this.#chains.end(chain, "unfinished", "refused: the local APIC is software-disabled");
    }
    if (!coalesced && own.length === 1) own[0]!.isTaken = true;
    if (own.length > 0) return;
    raise.coalesced ||= coalesced;
    if (isMasked(event)) raise.refusals.push("masked in the IOAPIC");
    else if (coalesced)
      raise.refusals.push("pending in the IOAPIC already, or no local APIC at the destination");
    else
      raise.refusals.push("not delivered by the IOAPIC: remote IRR set, or no local APIC at the destination");
  }

  #apicAccepts(event: TraceEvent, strand: Strand, ended: Life | undefined): void {
    const { raise } = strand;
    const vector = vectorOf(event)!;
    const delivery_mode = vectorlessModeOf(event);
    const hasVector = delivery_mode === null;
    const apic = apicOf(event);
    const pending = hasVector ? this.#chains.pending(event.process, vector, apic) : undefined;
    const trigger = numberArg(event, "tm") === 0 ? "edge" : "level";
    const known: Known = { vector: hasVector ? vector : null, delivery_mode, apic, trigger };
    let chain: Life;
    if (raise !== undefined && raise.msi?.vector === vector) {
      chain = this.#begin(raise, "msi", { raised: raise.event.time, accepted: event.time }, known);
      raise.accepted.push(chain);
      if (!hasVector) this.#endVectorless(chain);
    } else if (raise !== undefined && raise.msi === undefined && !raise.ioapicAnswered) {
      chain = this.#begin(raise, "ioapic", { raised: raise.event.time, accepted: event.time }, known);
      raise.accepted.push(chain);
      raise.unclaimed.push({ chain, vector });
    } else {
      this.#settle(strand);
      if (!hasVector) return;
      chain = this.#acceptAlone(event, known, ended);
    }
    if (pending?.steps.posted !== undefined) this.#chains.leave(pending);
    else if (pending !== undefined) this.#chains.merge(chain, PENDING_IN_APIC);
  }

  /** What has no vector is over once a local APIC has taken it: KVM tells no more of it. */
  #endVectorless(chain: Life, isRefused = false): void {
    const refusal = isRefused ? "refused by the local APIC" : undefined;
    const why = whyNothing(chain.delivery_mode!) ?? refusal;
    this.#chains.end(chain, why === undefined ? "complete" : "unfinished", why);
  }

  /** A vector without a rise: a level line that is still up at the EOI, the APIC's own timer, an IPI. */
  #acceptAlone({ process, time }: TraceEvent, known: Known, ended: Life | undefined): Life {
    const again = ended?.vector === known.vector && ended?.trigger === "level";
    const [route, gsi] = again ? (["ioapic", ended.gsi] as const) : (["local", null] as const);
    const chain = this.#chains.begin({ process, gsi, route, steps: { accepted: time } }, { ...known, again });
    if (again) this.#lines.follow(ended, chain);
    return chain;
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
      this.#chains.begin({ process, gsi: null, route: "local", steps: {} });
    chain.steps.injected = time;
    chain.vector = vector;
    chain.process = process;
    this.#chains.place(chain);
    if (chain.apic !== null) this.#isThreadOf(pid, chain.apic);
  }

  #isThreadOf(pid: number, apic: number): void {
    if (this.#apicOfThread.get(pid) === apic) return;
    this.#apicOfThread.set(pid, apic);
    forgetOldest(this.#apicOfThread);
  }

  #runsVcpu(event: TraceEvent): void {
    this.#chains.isVmm(event.process);
    this.#unanswered.isVcpu(event);
  }

  #waitingFor(vector: number, { process, pid }: TraceEvent): Life | undefined {
    return (
      this.#chains.waitingFor(process, vector, this.#apicOfThread.get(pid)) ??
      this.#chains.ofPic(process, vector, ({ route, gsi, steps }) => {
        if (steps.accepted === undefined || steps.injected !== undefined || route !== "pic") return false;
        const base = this.#picBase.get(picOf(process, gsi!));
        return base === undefined || base === vector - (vector % 8);
      })
    );
  }

  #endOfInterrupt(event: TraceEvent): Life | undefined {
    const { process, pid, time } = event;
    const vector = vectorOf(event)!;
    const apic = apicOf(event);
    this.#runsVcpu(event);
    this.#isThreadOf(pid, apic);
    const chain =
      this.#chains.endedBy(process, vector, apic) ?? this.#chains.unmerge({ process, vector, apic });
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
      this.#chains.ofPic(process, gsi, (candidate) => candidate.gsi === gsi) ??
      this.#chains.injectedFrom(process, gsi);
    if (chain === undefined) return;
    chain.steps.acknowledged = time;
    chain.route = "pic";
    chain.gsi = gsi;
    this.#chains.isVmm(process);
    this.#chains.end(chain);
    if (chain.vector !== null) this.#picBase.set(picOf(process, gsi), chain.vector - (chain.vector % 8));
    forgetOldest(this.#picBase);
    const isUp = chain.line !== undefined && chain.steps.lowered === undefined;
    if (chain.trigger === "level" && isUp) this.#presentAgain(chain, time);
  }

  #presentAgain(chain: Life, time: number): void {
    const { process, gsi } = chain;
    const beginning = { process, gsi, route: "pic", steps: { accepted: time } } as const;
    this.#lines.follow(chain, this.#chains.begin(beginning, { trigger: "level", again: true }));
  }
}

function ioapicAcknowledges(event: TraceEvent, ended: Life | undefined): Life | undefined {
  if (ended !== undefined) ended.steps.acknowledged ??= event.time;
  return ended;
}

function picOf(process: number | null, gsi: number): string {
  return `${process} ${gsi >> 3}`;
}

/** Whether a pin's bit of one of a PIC's registers is set. */
function isSet(event: TraceEvent, register: string, pin: number): boolean {
  return ((numberArg(event, register) >> pin) & 1) === 1;
}

function isTrue(value: ArgValue | undefined): boolean {
  return value === true || value === 1;
}
