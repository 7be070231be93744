import type { Advice } from "../abi/advice.ts";
import { hex, vcpuNames } from "../abi/bits.ts";
import {
  decisive,
  type Way as FinishedWay,
  type Outcome,
  type Stage,
  type Verdict,
} from "../rules/explanation.ts";

/** A way as far as it is told: remedies are not. */
type Way = Omit<FinishedWay, "stages"> & { stages: readonly Stage<Advice>[] };

/** How a sentence names a way. */
export const VIA = {
  pic: "the PIC",
  ioapic: "the IOAPIC",
  msi: "an MSI",
  hv_sint: "Hyper-V's SynIC",
  xen_evtchn: "a Xen event channel",
} as const;
const TOLD_FIRST: readonly Verdict[] = ["open", "held", "unknown", "blocked"];

/**
 * The one sentence that an explanation ends in.
 *
 * @param routing how the sentence names the routing, for a GSI that it takes nowhere.
 */
export function sentenceOf(gsi: number, verdict: Verdict, ways: readonly Way[], routing: string): string {
  if (ways.length === 0) return `GSI ${gsi} is blocked: ${routing} takes it to no chip`;
  const told = inOrderOfTelling(ways);
  const reaching = told.filter(reaches);
  if (reaching.length > 0) return `GSI ${gsi} would reach ${arrivals(reaching)}`;
  return `GSI ${gsi} ${VERDICT_WORDS[verdict]}: ${told.map((way, place) => reason(way, place, told)).join("; ")}`;
}

/** For a GSI whose routing is not known, when that decides: what it is under each. */
export function unknownSentence(
  gsi: number,
  answers: readonly { routing: string; ways: readonly Way[]; sentence: string }[],
): string {
  const head = `GSI ${gsi} can't be followed: where it goes is not known`;
  if (answers.every(({ ways }) => ways.length === 0)) {
    return `${head}; ${answers[0]?.routing} takes it to no chip, and a VMM may have routed it to an MSI`;
  }
  const under = answers.map(({ routing, ways, sentence }) =>
    ways.length === 0
      ? `${routing} takes it to no chip`
      : `under ${routing} it ${sentence.slice(`GSI ${gsi} `.length)}`,
  );
  return [head, ...under].join("; ");
}

const VERDICT_WORDS: Record<Verdict, string> = {
  open: "is open",
  held: "is held",
  blocked: "is blocked",
  unknown: "can't be followed",
};

/** The ways in the order in which they are told: the best first, and the IOAPIC's before the PIC's. */
export function inOrderOfTelling<W extends Way>(ways: readonly W[]): W[] {
  return [...ways].sort((a, b) => rank(a) - rank(b));
}

function rank(way: Way): number {
  return TOLD_FIRST.indexOf(way.verdict) * 2 + (way.via === "ioapic" ? 0 : 1);
}

function reaches(way: Way): boolean {
  return way.outcome.arrives && (way.verdict === "open" || way.verdict === "held");
}

/**
 * "vCPU 0 as vector 0x34 through the IOAPIC, and as vector 0x24 through the PIC, once RFLAGS.IF is set":
 * what both ways have in common is said once.
 */
function arrivals(ways: readonly Way[]): string {
  const who = ways.map(({ outcome }) => vcpuNames(outcome.vcpus));
  const when = ways.map(untilOf);
  const common = when.every((until) => until === when[0]);
  const parts = ways.map(({ via, outcome }, n) => {
    const vcpus = n > 0 && who[n] === who[0] ? "" : `${who[n]} `;
    return `${vcpus}${formOf(outcome)} through ${VIA[via]}${common ? "" : when[n]}`;
  });
  const end = common && when[0] ? `${parts.length > 1 ? "," : ""}${when[0]}` : "";
  const notes = ways.flatMap(({ stages }) => stages.flatMap(({ note }) => note ?? []));
  return [`${parts.join(", and ")}${end}`, ...notes].join("; ");
}

function untilOf({ stages }: Way): string {
  return stages
    .flatMap(({ until }) => until ?? [])
    .map((until) => ` ${until}`)
    .join(" and");
}

function formOf({ vector, delivery_mode }: Outcome): string {
  return vector === null ? `as an ${delivery_mode.toUpperCase()}` : `as vector ${hex(vector)}`;
}

/** Why a way is not open; those after the first say which way they are about. */
function reason(way: Way, place: number, told: readonly Way[]): string {
  const text = decisive(way)?.text ?? "";
  if (place === 0) return text;
  const too = way.verdict === told[0]?.verdict ? " too" : "";
  return `the ${way.via === "pic" ? "PIC" : "IOAPIC"} way ${VERDICT_WORDS[way.verdict]}${too}: ${text}`;
}
