import { spell, type VmAddress } from "../../../abi/advice.ts";
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
} from "../../../rules/explanation.ts";
import { sentenceOf, unknownSentence } from "../../../rules/sentence.ts";
import type { MsiRoute } from "../../../vm/routing.ts";
import {
  type NamedRouting,
  possibleRoutings,
  routeName,
  routingAssumption,
  routingName,
} from "../../../vm/routing.ts";
import { notSeen } from "../../../vm/snapshot.ts";
import type { ExplainOptions } from "../../arch.ts";
import { ioapicStage } from "../ioapic/explain.ts";
import { lapicStage, lint0Stage } from "../lapic/explain.ts";
import { type Cpu, cpusOf, intrTarget, softwareEnabled } from "../lapic/logic.ts";
import { picStage } from "../pic/explain.ts";
import { answersFor, vectorOf } from "../pic/logic.ts";
import type { PinRoute, Route } from "../routing.ts";
import { ROUTING, routesOf } from "../routing.ts";
import type { Snapshot } from "../state.ts";
import { vcpuStage } from "../vcpu/explain.ts";
import { type CpuContext, ioapicContext, type PicContext, picContext } from "./context.ts";
import { ioapicLineStage, picLineStage } from "./line.ts";
import { addressees, hasVector, type MessageContext } from "./message.ts";
import { msiContext, msiStage } from "./msi.ts";

/** What explaining looks at. */
interface Look {
  snapshot: Snapshot;
  routing: NamedRouting;
  /** Whether the VM may have another routing. */
  doubtful: boolean;
  guest: boolean;
}

/**
 * Says where an interrupt would go if its line rose now, or what stops it: each way it can take, stage by
 * stage, as KVM decides it.
 *
 * Where the routing is not known, the answer is `unknown` when it is another under another routing, and when the
 * GSI would be blocked: what is not known blocks nothing.
 *
 * @param gsi any GSI; one that is known to be routed nowhere has no ways and is blocked.
 */
export function explainGsi(snapshot: Snapshot, gsi: number, options: ExplainOptions = {}): Explanation {
  const emulated = emulatedPins(snapshot);
  if (emulated !== undefined) {
    const sentence = `GSI ${gsi} can't be followed: ${emulated}`;
    return { gsi, verdict: "unknown", sentence, ways: [], assumptions: [] };
  }
  const routings = possibleRoutings(ROUTING, snapshot, options.routing);
  const doubtful = routings.length > 1;
  const guest = mayRun(snapshot, options);
  const answers = routings.map((routing) => {
    const ways = waysOf({ snapshot, routing, doubtful, guest }, gsi);
    const verdict = bestVerdict(ways);
    return { routing, ways, verdict, sentence: sentenceOf(gsi, verdict, ways, routingName(routing)) };
  });
  const first = answers[0]!;
  const agreed = answers.every(({ sentence }) => sentence === first.sentence);
  const firm = !doubtful || (agreed && first.verdict !== "blocked");
  const seen = new Set<string>();
  const ways = answers
    .flatMap((answer) => answer.ways)
    .filter(({ route }) => !seen.has(routeName(route)) && seen.add(routeName(route)));
  return {
    gsi,
    verdict: firm ? first.verdict : "unknown",
    sentence: firm ? first.sentence : unknownSentence(gsi, agreed ? [first] : answers),
    ways: ways.map((way) => spelled(way, options.address)),
    assumptions: assumptionsOf(snapshot, options),
  };
}

/** Says that the pins are not in the kernel, where that is so. */
function emulatedPins(snapshot: Snapshot): string | undefined {
  const { irqchip = "full" } = snapshot;
  return irqchip === "full" ? undefined : notSeen(snapshot);
}

function waysOf(look: Look, gsi: number): WayDraft[] {
  const routes = routesOf(look.routing).filter((route) => route.gsi === gsi);
  const picRoute = routes.filter((route) => "chip" in route).find(({ chip }) => chip !== "ioapic");
  return routes.map((route) => {
    if ("msi" in route) return msiWay(look, route);
    return route.chip === "ioapic" ? ioapicWay(look, route, picRoute) : picWay(look, route);
  });
}

/** {@link explainGsi} for every GSI that the routing takes somewhere in the kernel, lowest first. */
export function explainAll(snapshot: Snapshot, options: ExplainOptions = {}): Explanation[] {
  if (emulatedPins(snapshot) !== undefined) return [];
  const routings = possibleRoutings(ROUTING, snapshot, options.routing);
  const gsis = new Set(routings.flatMap((routing) => routesOf(routing).map(({ gsi }) => gsi)));
  return [...gsis].sort((a, b) => a - b).map((gsi) => explainGsi(snapshot, gsi, options));
}

/**
 * Whether a guest may run on a snapshot's vCPUs: not on those of a session or a scratch VM that has no guest
 * of ours.
 */
export function mayRun(snapshot: Snapshot, options: ExplainOptions): boolean {
  return options.guest ?? snapshot.guest?.running ?? !SCRATCH_KINDS.includes(snapshot.source.kind);
}

/** Whether a VM's vCPUs have a guest, and none of them is being run. */
export function isPaused(snapshot: Snapshot, options: ExplainOptions): boolean {
  const { vcpus = [] } = snapshot;
  return mayRun(snapshot, options) && vcpus.length > 0 && vcpus.every(({ run }) => run === false);
}

const SCRATCH_KINDS: readonly string[] = ["session", "scratch"];

function assumptionsOf(snapshot: Snapshot, options: ExplainOptions): string[] {
  const routing = routingAssumption(ROUTING, snapshot, options.routing);
  const assumptions = routing === undefined ? [] : [routing];
  if (snapshot.vcpus === undefined && (snapshot.chips.lapic ?? []).length > 0) {
    assumptions.push("local APICs are on and in xAPIC mode; the snapshot has no vCPU state");
  }
  return assumptions;
}

/** A way whose remedies do not say yet which VM they are for. */
type WayDraft = Omit<Way, "stages"> & { route: Route; stages: StageDraft[] };

function spelled({ route: _, ...way }: WayDraft, address: VmAddress | undefined): Way {
  const stages = way.stages.map(({ remedy, ...stage }) => ({
    ...stage,
    ...(remedy === undefined ? {} : { remedy: spell(remedy, address) }),
  }));
  return { ...way, stages };
}

function routingStage(route: Route, { routing, doubtful }: Look): StageDraft {
  const input =
    "msi" in route ? "an MSI" : `${route.chip === "ioapic" ? "IOAPIC" : route.chip} pin ${route.pin}`;
  return doubtful
    ? {
        name: "routing",
        state: "unknown",
        code: "routing-unknown",
        text: `GSI ${route.gsi} goes to ${input} under ${routingName(routing)}; which one the VM has is not known`,
        evidence: "no ioctl reads a routing back",
        remedy: "name the routing with --routing, if you know it",
      }
    : {
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

function way(via: Way["via"], route: Route, stages: StageDraft[], outcome: Outcome): WayDraft {
  return { via, route, verdict: wayVerdict(stages), stages, outcome };
}

const NOWHERE = { arrives: false, vcpus: [] };

function picWay(look: Look, route: PinRoute): WayDraft {
  const { snapshot, guest } = look;
  const routed = routingStage(route, look);
  const context = picContext(snapshot, route);
  if (context === undefined) {
    const outcome = { ...NOWHERE, vector: null, delivery_mode: "extint" };
    return way("pic", route, [routed, missingChip("pic", route)], outcome);
  }
  const cpus = cpusOf(snapshot);
  const target = cpus && intrTarget(cpus);
  const stages = [picLineStage(context), routed, picStage(context), lint0Stage(cpus)];
  if (target !== undefined)
    stages.push(vcpuStage({ cpu: target, vector: null, deliveryMode: "extint", guest }));
  return way("pic", route, stages, picOutcome(context, target));
}

function picOutcome({ chip, pin, pic, answer }: PicContext, target: Cpu | undefined): Outcome {
  const delivery_mode = "extint";
  if (answer === undefined || !answersFor(answer, chip, pin)) {
    return { ...NOWHERE, vector: vectorOf(pic, pin), delivery_mode };
  }
  if (target === undefined) return { ...NOWHERE, vector: answer.vector, delivery_mode };
  return { arrives: true, vcpus: [target.vcpu], vector: answer.vector, delivery_mode };
}

function ioapicWay(look: Look, route: PinRoute, picRoute: PinRoute | undefined): WayDraft {
  const routed = routingStage(route, look);
  const context = ioapicContext(look.snapshot, route, picRoute);
  if (context === undefined) {
    const outcome = { ...NOWHERE, vector: null, delivery_mode: "unknown" };
    return way("ioapic", route, [routed, missingChip("ioapic", route)], outcome);
  }
  const sending = [ioapicLineStage(context), routed, ioapicStage(context)];
  return messageWay("ioapic", route, context, sending, look);
}

/** A GSI that sends an MSI has no line: each rise is a message. */
function msiWay(look: Look, route: MsiRoute): WayDraft {
  const context = msiContext(look.snapshot, route);
  return messageWay("msi", route, context, [routingStage(route, look), msiStage(context)], look);
}

/** @param sending the stages up to the message itself. */
function messageWay(
  via: Way["via"],
  route: Route,
  context: MessageContext,
  sending: readonly StageDraft[],
  { guest }: Look,
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
  return way(via, route, stages, {
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
