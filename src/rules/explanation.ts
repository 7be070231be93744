import type { Advice } from "../abi/advice.ts";
import type { Gsi, Vector } from "../abi/numbers.ts";
import type { Evidence } from "./evidence.ts";

/**
 * How far an interrupt gets at one stage of its way.
 *
 * `open` lets it through. `blocked` stops it until somebody changes a register. `held` stops it until
 * something that happens by itself, such as an EOI. `pending` has one of the same kind waiting there
 * already, with which a new one merges; `in service` waits for that one's EOI. `unknown` needs state that
 * the snapshot lacks.
 */
export type StageState = "open" | "blocked" | "held" | "pending" | "in service" | "unknown";

/** "line", "routing", "vcpu", or what the architecture calls a chip on the way: "pic", "local apic". */
export type StageName = string;

/** One stage of a way, and the register and bit that its state is read from. */
export interface Stage<Remedy extends Advice = string> {
  name: StageName;
  state: StageState;
  /** Stable, for scripts; `docs/findings.md` has an anchor of that name. */
  code: string;
  /** What is the matter, as a clause: "IOAPIC pin 4 is masked (redirtbl[4] bit 16)". */
  text: string;
  /** The fields that say so, as paths: "ioapic.redirtbl[4].mask = true (redirtbl[4] bit 16)". */
  evidence: string;
  /** For a stage that holds: until when, as "once RFLAGS.IF is set". */
  until?: string;
  /** For a stage that lets it through, but not as one would want: what the sentence adds. */
  note?: string;
  remedy?: Remedy;
}

/** A stage whose remedy does not say yet which VM it is for, with the facts that it rests on. */
export type StageDraft = Stage<Advice> & { facts: readonly Evidence[] };

/** What raising the line now does, on this way. */
export interface Outcome {
  /**
   * Through the IOAPIC: whether a local APIC accepts it (for a vector, whether its IRR has it afterwards).
   * Through the PIC: whether INTR reaches a vCPU and an acknowledge would answer with this very pin.
   */
  arrives: boolean;
  /** The vCPUs that it arrives at; none when it does not arrive. */
  vcpus: number[];
  /** `null` for delivery modes that have no vector (NMI, SMI, INIT), and where it is not known. */
  vector: Vector | null;
  /** As redirection entries spell it; `extint` for the PIC way. */
  delivery_mode: string;
}

/** Of a way, and of a GSI: the best of its ways. `unknown` when the snapshot lacks a chip on the way. */
export type Verdict = "open" | "held" | "blocked" | "unknown";

/** One of the ways that a GSI can take to a vCPU. */
export interface Way {
  via: "pic" | "ioapic" | "msi" | "hv_sint" | "xen_evtchn";
  verdict: Verdict;
  stages: Stage[];
  outcome: Outcome;
}

/** Where a GSI would go, or what stops it. */
export interface Explanation {
  gsi: Gsi;
  verdict: Verdict;
  sentence: string;
  ways: Way[];
  /** What the snapshot does not say and was taken for granted. */
  assumptions: string[];
}

/** Whether a stage, by itself, lets nothing through now. */
export function stops({ name, state }: Stage<Advice>): boolean {
  return name !== "routing" && state !== "open" && state !== "pending";
}

/** What does not make a way unknown: a vCPU whose state is not known, and whether the GSI takes the way at all. */
const ASIDE: readonly StageName[] = ["vcpu", "routing"];

/** A way's verdict: the worst of its stages. */
export function wayVerdict(stages: readonly Stage<Advice>[]): Verdict {
  if (stages.some(({ state }) => state === "blocked")) return "blocked";
  if (stages.some(({ state, name }) => state === "unknown" && !ASIDE.includes(name))) return "unknown";
  if (stages.some(({ state }) => state === "held" || state === "in service")) return "held";
  return "open";
}

const BEST_FIRST: readonly Verdict[] = ["open", "held", "unknown", "blocked"];

/** The best verdict of several ways; a GSI that has none is blocked. */
export function bestVerdict(ways: readonly Pick<Way, "verdict">[]): Verdict {
  return BEST_FIRST.find((verdict) => ways.some((way) => way.verdict === verdict)) ?? "blocked";
}

const DECIDING: Record<Verdict, readonly StageState[]> = {
  open: [],
  held: ["in service", "held"],
  blocked: ["blocked"],
  unknown: ["unknown"],
};

/** The stage that gave the way its verdict: the one to mark where the interrupt stops. */
export function decisive<S extends Stage<Advice>>({
  verdict,
  stages,
}: Pick<Way, "verdict"> & { stages: readonly S[] }): S | undefined {
  return stages.find(({ name, state }) => name !== "routing" && DECIDING[verdict].includes(state));
}
