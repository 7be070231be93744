import { spell, type VmAddress } from "../abi/advice.ts";
import type { Snapshot } from "../abi/snapshot.ts";
import type { MsiRoute, PinRoute, Route } from "../abi/x86/routing.ts";
import { type Cpu, cpusOf, intrTarget, softwareEnabled } from "./apic-logic.ts";
import { type CpuContext, ioapicContext, type PicContext, picContext } from "./explain-context.ts";
import { ioapicStage } from "./explain-ioapic.ts";
import { lapicStage, lint0Stage } from "./explain-lapic.ts";
import { ioapicLineStage, picLineStage } from "./explain-line.ts";
import { addressees, hasVector, type MessageContext } from "./explain-message.ts";
import { msiContext, msiStage } from "./explain-msi.ts";
import { picStage } from "./explain-pic.ts";
import { sentenceOf } from "./explain-sentence.ts";
import { vcpuStage } from "./explain-vcpu.ts";
import {
  bestVerdict,
  DUMP_EVERY_CHIP,
  type Explanation,
  type Outcome,
  type StageDraft,
  stops,
  type Verdict,
  type Way,
  wayVerdict,
} from "./explanation.ts";
import { answersFor, vectorOf } from "./pic-logic.ts";
import { type Routing, routesOf, routingAssumption, routingName, routingOf } from "./routing.ts";

export interface ExplainOptions {
  /** Where GSIs go. When not given: as {@link routingOf} has it. */
  routing?: Routing | undefined;
  /** Whether a guest may run. When not given: no for a session's or scratch VM, else yes. */
  guest?: boolean | undefined;
  /** The VM, as the commands of remedies are to name it. When not given, they are lines of a script. */
  address?: VmAddress | undefined;
}

/**
 * Says where an interrupt would go if its line rose now, or what stops it: each way it can take, stage by
 * stage, as KVM decides it.
 *
 * @param gsi any GSI; one that is routed nowhere has no ways and is blocked.
 */
export function explainGsi(snapshot: Snapshot, gsi: number, options: ExplainOptions = {}): Explanation {
  const routing = routingOf(snapshot, options.routing);
  const guest = mayRun(snapshot, options);
  const routes = routesOf(routing).filter((route) => route.gsi === gsi);
  const picRoute = routes.filter((route) => "chip" in route).find(({ chip }) => chip !== "ioapic");
  const drafts = routes.map((route) => {
    if ("msi" in route) return msiWay(snapshot, route, guest, routing);
    return route.chip === "ioapic"
      ? ioapicWay(snapshot, route, picRoute, guest, routing)
      : picWay(snapshot, route, guest, routing);
  });
  const ways = drafts.map((draft) => spelled(draft, options.address));
  const verdict = bestVerdict(ways);
  return {
    gsi,
    verdict,
    sentence: sentenceOf(gsi, verdict, ways, routingName(routing)),
    ways,
    assumptions: assumptionsOf(snapshot, options),
  };
}

/** {@link explainGsi} for every GSI that the routing takes somewhere, lowest first. */
export function explainAll(snapshot: Snapshot, options: ExplainOptions = {}): Explanation[] {
  const gsis = new Set(routesOf(routingOf(snapshot, options.routing)).map(({ gsi }) => gsi));
  return [...gsis].sort((a, b) => a - b).map((gsi) => explainGsi(snapshot, gsi, options));
}

/**
 * Whether a guest may run on a snapshot's vCPUs: not on those of a session or a scratch VM that has no guest
 * of ours.
 */
export function mayRun(snapshot: Snapshot, options: ExplainOptions): boolean {
  return options.guest ?? snapshot.guest?.running ?? !SCRATCH_KINDS.includes(snapshot.source.kind);
}

const SCRATCH_KINDS: readonly string[] = ["session", "scratch"];

function assumptionsOf(snapshot: Snapshot, options: ExplainOptions): string[] {
  const routing = routingAssumption(snapshot, options.routing);
  const assumptions = routing === undefined ? [] : [routing];
  if (snapshot.vcpus === undefined && (snapshot.chips.lapic ?? []).length > 0) {
    assumptions.push("local APICs are on and in xAPIC mode; the snapshot has no vCPU state");
  }
  return assumptions;
}

/** A way whose remedies do not say yet which VM they are for. */
type WayDraft = Omit<Way, "stages"> & { stages: StageDraft[] };

function spelled(way: WayDraft, address: VmAddress | undefined): Way {
  const stages = way.stages.map(({ remedy, ...stage }) => ({
    ...stage,
    ...(remedy === undefined ? {} : { remedy: spell(remedy, address) }),
  }));
  return { ...way, stages };
}

function routingStage(route: Route, routing: Routing): StageDraft {
  const input =
    "msi" in route ? "an MSI" : `${route.chip === "ioapic" ? "IOAPIC" : route.chip} pin ${route.pin}`;
  return {
    name: "routing",
    state: "open",
    code: "routed",
    text: `GSI ${route.gsi} goes to ${input}`,
    evidence: routingName(routing),
  };
}

function missingChip(name: "pic" | "ioapic", route: PinRoute): StageDraft {
  return {
    name,
    state: "unknown",
    code: "chip-missing",
    text: `the snapshot lacks ${name === "pic" ? "the PICs" : `the IOAPIC, or its pin ${route.pin}`}`,
    evidence: `chips.${route.chip} is missing`,
    remedy: DUMP_EVERY_CHIP,
  };
}

function way(via: Way["via"], stages: StageDraft[], outcome: Outcome): WayDraft {
  return { via, verdict: wayVerdict(stages), stages, outcome };
}

const NOWHERE = { arrives: false, vcpus: [] };

function picWay(snapshot: Snapshot, route: PinRoute, guest: boolean, routing: Routing): WayDraft {
  const routed = routingStage(route, routing);
  const context = picContext(snapshot, route);
  if (context === undefined) {
    const outcome = { ...NOWHERE, vector: null, delivery_mode: "extint" };
    return way("pic", [routed, missingChip("pic", route)], outcome);
  }
  const cpus = cpusOf(snapshot);
  const target = cpus && intrTarget(cpus);
  const stages = [picLineStage(context), routed, picStage(context), lint0Stage(cpus)];
  if (target !== undefined)
    stages.push(vcpuStage({ cpu: target, vector: null, deliveryMode: "extint", guest }));
  return way("pic", stages, picOutcome(context, target));
}

function picOutcome({ chip, pin, pic, answer }: PicContext, target: Cpu | undefined): Outcome {
  const delivery_mode = "extint";
  if (answer === undefined || !answersFor(answer, chip, pin)) {
    return { ...NOWHERE, vector: vectorOf(pic, pin), delivery_mode };
  }
  if (target === undefined) return { ...NOWHERE, vector: answer.vector, delivery_mode };
  return { arrives: true, vcpus: [target.vcpu], vector: answer.vector, delivery_mode };
}

function ioapicWay(
  snapshot: Snapshot,
  route: PinRoute,
  picRoute: PinRoute | undefined,
  guest: boolean,
  routing: Routing,
): WayDraft {
  const routed = routingStage(route, routing);
  const context = ioapicContext(snapshot, route, picRoute);
  if (context === undefined) {
    const outcome = { ...NOWHERE, vector: null, delivery_mode: "unknown" };
    return way("ioapic", [routed, missingChip("ioapic", route)], outcome);
  }
  return messageWay("ioapic", context, [ioapicLineStage(context), routed, ioapicStage(context)], guest);
}

/** A GSI that sends an MSI has no line: each rise is a message. */
function msiWay(snapshot: Snapshot, route: MsiRoute, guest: boolean, routing: Routing): WayDraft {
  const context = msiContext(snapshot, route);
  return messageWay("msi", context, [routingStage(route, routing), msiStage(context)], guest);
}

/** @param sending the stages up to the message itself. */
function messageWay(
  via: Way["via"],
  context: MessageContext,
  sending: readonly StageDraft[],
  guest: boolean,
): WayDraft {
  const { entry } = context;
  const vector = hasVector(entry.delivery_mode) ? entry.vector : null;
  const targets = addressees(context).map((cpu) => ({
    cpu,
    vector,
    deliveryMode: entry.delivery_mode,
    guest,
  }));
  const stages = [...sending, ...easiest(targets)];
  const vcpus = sending.some(stops) ? [] : targets.filter(accepts).map(({ cpu }) => cpu.vcpu);
  return way(via, stages, {
    arrives: vcpus.length > 0,
    vcpus,
    vector,
    delivery_mode: entry.delivery_mode,
  });
}

/** Whether a local APIC takes the message in, whatever becomes of it then. */
function accepts({ cpu, deliveryMode }: CpuContext): boolean {
  return cpu.mode !== "disabled" && (softwareEnabled(cpu) || !hasVector(deliveryMode));
}

const EASIEST_FIRST: readonly Verdict[] = ["open", "unknown", "held", "blocked"];

/** Stages 5 and 6 for the vCPU that takes it most readily; none when nobody is addressed. */
function easiest(targets: readonly CpuContext[]): StageDraft[] {
  const candidates = targets.map((target) => {
    const stages = [lapicStage(target), vcpuStage(target)];
    return { stages, rank: EASIEST_FIRST.indexOf(wayVerdict(stages)) * 2 + (accepts(target) ? 0 : 1) };
  });
  return candidates.sort((a, b) => a.rank - b.rank)[0]?.stages ?? [];
}
