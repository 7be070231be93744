import { spell, type VmAddress } from "../../../abi/advice.ts";
import type { Gsi } from "../../../abi/numbers.ts";
import { is, missing } from "../../../rules/evidence.ts";
import {
  bestVerdict,
  type Explanation,
  type Outcome,
  type StageDraft,
  stops,
  type Verdict,
  type Way,
  wayVerdict,
} from "../../../rules/explanation.ts";
import { type Rule, rule } from "../../../rules/rule.ts";
import { sentenceOf, unknownSentence } from "../../../text/explain-sentence.ts";
import { evidenceText, type HopTable, stageOf, type WordsByCode } from "../../../text/words.ts";
import {
  type MsiRoute,
  type NamedRouting,
  routeName,
  routingAssumption,
  routingName,
} from "../../../vm/routing.ts";
import { notSeen } from "../../../vm/snapshot.ts";
import type { ExplainOptions } from "../../arch.ts";
import { IOAPIC_LINE_RULES, IOAPIC_RULES } from "../ioapic/rules.ts";
import { IOAPIC_LINE_WORDS, IOAPIC_WORDS } from "../ioapic/words.ts";
import { addressees, hasVector } from "../lapic/destination.ts";
import { softwareEnabled } from "../lapic/logic.ts";
import { LAPIC_RULES, LINT0_RULES, MSI_RULES } from "../lapic/rules.ts";
import { DUMP_EVERY_CHIP, LAPIC_WORDS, LINT0_WORDS, MESSAGE_WORDS } from "../lapic/words.ts";
import { answersFor, vectorOf } from "../pic/logic.ts";
import { PIC_LINE_RULES, PIC_RULES } from "../pic/rules.ts";
import { PIC_LINE_WORDS, PIC_WORDS } from "../pic/words.ts";
import { type PinRoute, ROUTING, type Route, routesOf } from "../routing.ts";
import type { Snapshot } from "../state.ts";
import { VCPU_RULES } from "../vcpu/rules.ts";
import { VCPU_WORDS } from "../vcpu/words.ts";
import {
  type Arrival,
  type IoapicPin,
  ioapicPin,
  type PicInput,
  picInput,
  type Sent,
  sentMsi,
  type Vm,
  vmOf,
} from "./context.ts";

/** A route that a VM's GSI has, or may have. */
interface Taken {
  vm: Vm;
  route: Route;
  routing: NamedRouting;
}

const ROUTING_RULES: readonly Rule<Taken>[] = [
  rule(
    "routing-unknown",
    "unknown",
    "KVM api.rst, KVM_SET_GSI_ROUTING: there is no ioctl that gets it",
    ({ vm }) => {
      return vm.routings.length > 1 && [missing("routing")];
    },
  ),
  rule("routed", "open", "KVM api.rst, KVM_SET_GSI_ROUTING", () => []),
];

const ROUTING_WORDS: WordsByCode<Taken> = {
  "routing-unknown": {
    text: ({ route, routing }) =>
      `GSI ${route.gsi} goes to ${inputOf(route)} under ${routingName(routing)}; which one the VM has is not known`,
    evidence: "no ioctl reads a routing back",
    remedy: "name the routing with --routing, if you know it",
  },
  routed: {
    text: ({ route }) => `GSI ${route.gsi} goes to ${inputOf(route)}`,
    evidence: ({ routing }) => routingName(routing),
  },
};

function inputOf(route: Route): string {
  if ("msi" in route) return "an MSI";
  if ("hv_sint" in route) return `SINT ${route.hv_sint.sint} of vCPU ${route.hv_sint.vcpu}`;
  if ("xen_evtchn" in route) return `Xen event channel ${route.xen_evtchn.port}`;
  return `${route.chip === "ioapic" ? "IOAPIC" : route.chip} pin ${route.pin}`;
}

/** What a snapshot lacks of a way. */
const MISSING_RULES: readonly Rule<Taken & { route: PinRoute }>[] = [
  rule("chip-missing", "unknown", "KVM api.rst, KVM_GET_IRQCHIP", ({ vm, route }) => {
    const { chips } = vm.snapshot;
    const others = route.chip === "ioapic" ? [] : (["pic1", "pic2"] as const);
    const lacking = [route.chip, ...others].find((chip) => chips[chip] === undefined);
    return [missing(lacking === undefined ? `ioapic.redirtbl[${route.pin}]` : `chips.${lacking}`)];
  }),
];

const MISSING_WORDS: WordsByCode<Taken & { route: PinRoute }> = {
  "chip-missing": {
    text: ({ route }) =>
      `the snapshot lacks ${route.chip === "ioapic" ? `the IOAPIC, or its pin ${route.pin}` : "the PICs"}`,
    remedy: DUMP_EVERY_CHIP,
  },
};

/** Ways that lead out of what is known here. */
const OTHER_RULES: readonly Rule<Taken>[] = [
  rule("route-not-followed", "unknown", "KVM api.rst, KVM_SET_GSI_ROUTING", () => []),
];

const OTHER_WORDS: WordsByCode<Taken> = {
  "route-not-followed": {
    text: ({ route }) => `kvm-irq does not follow what reaches ${inputOf(route)}`,
    evidence: ({ route }) => evidenceText([is(`routes[${route.gsi}]`, inputOf(route))]),
  },
};

/** The hops of all ways. */
export const HOPS = {
  picLine: { name: "line", rules: PIC_LINE_RULES, words: PIC_LINE_WORDS } as HopTable<PicInput>,
  ioapicLine: { name: "line", rules: IOAPIC_LINE_RULES, words: IOAPIC_LINE_WORDS } as HopTable<IoapicPin>,
  routing: { name: "routing", rules: ROUTING_RULES, words: ROUTING_WORDS } as HopTable<Taken>,
  noPic: { name: "pic", rules: MISSING_RULES, words: MISSING_WORDS } as HopTable<Taken & { route: PinRoute }>,
  noIoapic: { name: "ioapic", rules: MISSING_RULES, words: MISSING_WORDS } as HopTable<
    Taken & { route: PinRoute }
  >,
  pic: { name: "pic", rules: PIC_RULES, words: PIC_WORDS } as HopTable<PicInput>,
  ioapic: { name: "ioapic", rules: IOAPIC_RULES, words: IOAPIC_WORDS } as HopTable<IoapicPin>,
  other: { name: "msi", rules: OTHER_RULES, words: OTHER_WORDS } as HopTable<Taken>,
  msi: { name: "msi", rules: MSI_RULES, words: MESSAGE_WORDS } as HopTable<Sent>,
  lapic: { name: "local apic", rules: LAPIC_RULES, words: LAPIC_WORDS } as HopTable<Arrival>,
  lint0: { name: "local apic", rules: LINT0_RULES, words: LINT0_WORDS } as HopTable<Vm>,
  vcpu: { name: "vcpu", rules: VCPU_RULES, words: VCPU_WORDS } as HopTable<Arrival>,
} as const;

/**
 * Says where an interrupt would go if its line rose now, or what stops it: each way it can take, stage by
 * stage, as KVM decides it.
 *
 * Where the routing is not known, the answer is `unknown` when it is another under another routing, and when the
 * GSI would be blocked: what is not known blocks nothing.
 *
 * @param gsi any GSI; one that is known to be routed nowhere has no ways and is blocked.
 */
export function explainGsi(snapshot: Snapshot, gsi: Gsi, options: ExplainOptions = {}): Explanation {
  return explainIn(vmOf(snapshot, options), gsi, options);
}

/** {@link explainGsi} for every GSI that the routing takes somewhere in the kernel, lowest first. */
export function explainAll(snapshot: Snapshot, options: ExplainOptions = {}): Explanation[] {
  if (emulatedPins(snapshot) !== undefined) return [];
  const vm = vmOf(snapshot, options);
  const gsis = new Set(vm.routings.flatMap((routing) => routesOf(routing).map(({ gsi }) => gsi)));
  return [...gsis].sort((a, b) => a - b).map((gsi) => explainIn(vm, gsi, options));
}

function explainIn(vm: Vm, gsi: Gsi, { routing: given, address }: ExplainOptions): Explanation {
  const emulated = emulatedPins(vm.snapshot);
  if (emulated !== undefined) {
    const sentence = `GSI ${gsi} can't be followed: ${emulated}`;
    return { gsi, verdict: "unknown", sentence, ways: [], assumptions: [] };
  }
  const doubtful = vm.routings.length > 1;
  const answers = vm.routings.map((one) => {
    const [routing, ways] = [routingName(one), waysOf(vm, gsi, one)];
    const verdict = bestVerdict(ways);
    return { routing, ways, verdict, sentence: sentenceOf(gsi, verdict, ways, routing) };
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
    ways: ways.map((way) => spelled(way, address)),
    assumptions: assumptionsOf(vm.snapshot, given),
  };
}

/** Says that the pins are not in the kernel, where that is so. */
function emulatedPins(snapshot: Snapshot): string | undefined {
  const { irqchip = "full" } = snapshot;
  return irqchip === "full" ? undefined : notSeen(snapshot);
}

function assumptionsOf(snapshot: Snapshot, given: NamedRouting | undefined): string[] {
  const routing = routingAssumption(ROUTING, snapshot, given);
  const assumptions = routing === undefined ? [] : [routing];
  if (snapshot.vcpus === undefined && (snapshot.chips.lapic ?? []).length > 0) {
    assumptions.push("local APICs are on and in xAPIC mode; the snapshot has no vCPU state");
  }
  return assumptions;
}

/** A way whose remedies do not say yet which VM they are for, with the facts that it rests on. */
export type WayDraft = Omit<Way, "stages"> & { route: Route; stages: StageDraft[] };

function spelled({ route: _, ...way }: WayDraft, address: VmAddress | undefined): Way {
  const stages = way.stages.map(({ facts: _, remedy, ...stage }) => ({
    ...stage,
    ...(remedy === undefined ? {} : { remedy: spell(remedy, address) }),
  }));
  return { ...way, stages };
}

/** The ways of a GSI under a routing. */
export function waysOf(vm: Vm, gsi: Gsi, routing: NamedRouting): WayDraft[] {
  const routes = routesOf(routing).filter((route) => route.gsi === gsi);
  const pic = routes.filter((route) => "chip" in route).find(({ chip }) => chip !== "ioapic");
  return routes.map((route) => {
    if ("msi" in route) return msiWay({ vm, route, routing });
    if (!("chip" in route)) return otherWay({ vm, route, routing });
    return route.chip === "ioapic" ? ioapicWay({ vm, route, routing }, pic) : picWay({ vm, route, routing });
  });
}

function way(via: Way["via"], route: Route, stages: StageDraft[], outcome: Outcome): WayDraft {
  return { via, route, verdict: wayVerdict(stages), stages, outcome };
}

const NOWHERE = { arrives: false, vcpus: [] };

function picWay(taken: Taken & { route: PinRoute }): WayDraft {
  const { vm, route } = taken;
  const routed = stageOf(HOPS.routing, taken);
  const input = picInput(vm, route);
  if (input === undefined) {
    const outcome = { ...NOWHERE, vector: null, delivery_mode: "extint" };
    return way("pic", route, [routed, stageOf(HOPS.noPic, taken)], outcome);
  }
  const stages = [stageOf(HOPS.picLine, input), routed, stageOf(HOPS.pic, input), stageOf(HOPS.lint0, vm)];
  if (vm.intr !== undefined) {
    const arrival = { cpu: vm.intr, vector: null, deliveryMode: "extint", guest: vm.guest } as const;
    stages.push(stageOf(HOPS.vcpu, arrival));
  }
  return way("pic", route, stages, picOutcome(input));
}

function picOutcome({ vm: { intr }, chip, pin, pic, answer }: PicInput): Outcome {
  const delivery_mode = "extint";
  if (answer === undefined || !answersFor(answer, chip, pin)) {
    return { ...NOWHERE, vector: vectorOf(pic, pin), delivery_mode };
  }
  const { vector } = answer;
  if (intr === undefined) return { ...NOWHERE, vector, delivery_mode };
  return { arrives: true, vcpus: [intr.vcpu], vector, delivery_mode };
}

function ioapicWay(taken: Taken & { route: PinRoute }, pic: PinRoute | undefined): WayDraft {
  const { vm, route } = taken;
  const routed = stageOf(HOPS.routing, taken);
  const pin = ioapicPin(vm, route.pin, { gsi: route.gsi, pic });
  if (pin === undefined) {
    const outcome = { ...NOWHERE, vector: null, delivery_mode: "unknown" };
    return way("ioapic", route, [routed, stageOf(HOPS.noIoapic, taken)], outcome);
  }
  const sending = [stageOf(HOPS.ioapicLine, pin), routed, stageOf(HOPS.ioapic, pin)];
  return messageWay("ioapic", taken, pin, sending);
}

/** To the synthetic interrupt controller of a Hyper-V or Xen guest, which is not followed. */
function otherWay(taken: Taken & { route: Exclude<Route, PinRoute | MsiRoute> }): WayDraft {
  const via = "hv_sint" in taken.route ? "hv_sint" : "xen_evtchn";
  const stages = [stageOf(HOPS.routing, taken), stageOf(HOPS.other, taken)];
  return way(via, taken.route, stages, { ...NOWHERE, vector: null, delivery_mode: "unknown" });
}

/** A GSI that sends an MSI has no line: each rise is a message. */
function msiWay(taken: Taken & { route: MsiRoute }): WayDraft {
  const sent = sentMsi(taken.vm, taken.route);
  return messageWay("msi", taken, sent, [stageOf(HOPS.routing, taken), stageOf(HOPS.msi, sent)]);
}

/** @param sending the stages up to the message itself. */
function messageWay(
  via: Way["via"],
  { vm: { guest }, route }: Taken,
  sent: Sent,
  sending: readonly StageDraft[],
): WayDraft {
  const { vector, at } = sent;
  const { delivery_mode } = sent.entry;
  const targets = addressees(sent).map((cpu) => ({ cpu, vector, at, deliveryMode: delivery_mode, guest }));
  const stages = [...sending, ...easiest(targets)];
  const vcpus = sending.some(stops) ? [] : targets.filter(accepts).map(({ cpu }) => cpu.vcpu);
  return way(via, route, stages, { arrives: vcpus.length > 0, vcpus, vector, delivery_mode });
}

/** Whether a local APIC takes the message in, whatever becomes of it then. */
function accepts({ cpu, deliveryMode }: Arrival): boolean {
  return cpu.mode !== "disabled" && (softwareEnabled(cpu) || !hasVector(deliveryMode));
}

const EASIEST_FIRST: readonly Verdict[] = ["open", "unknown", "held", "blocked"];

/** Stages 5 and 6 for the vCPU that takes it most readily; none when nobody is addressed. */
function easiest(targets: readonly Arrival[]): StageDraft[] {
  const candidates = targets.map((target) => {
    const stages = [stageOf(HOPS.lapic, target), stageOf(HOPS.vcpu, target)];
    return { stages, rank: EASIEST_FIRST.indexOf(wayVerdict(stages)) * 2 + (accepts(target) ? 0 : 1) };
  });
  return candidates.sort((a, b) => a.rank - b.rank)[0]?.stages ?? [];
}
