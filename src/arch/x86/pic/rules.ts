import { bitsOf, hasBit, hex } from "../../../abi/bits.ts";
import type { Gsi, Pin } from "../../../abi/numbers.ts";
import { before, bitClear, bitSet, type Evidence, is } from "../../../rules/evidence.ts";
import type { Severity } from "../../../rules/finding.ts";
import { type Rule, rule } from "../../../rules/rule.ts";
import type { PicInput, Scene, Vm } from "../explain/context.ts";
import { destinationOf, hasVector } from "../lapic/destination.ts";
import { FIRST_LEGAL_VECTOR, intrTarget, softwareEnabled, usesLapics } from "../lapic/logic.ts";
import { lvtLint0 } from "../lapic/rules.ts";
import { interruptible } from "../vcpu/rules.ts";
import type { PicState } from "./layout.ts";
import {
  type Acknowledge,
  acknowledge,
  CASCADE_PIN,
  heldBack,
  holdersOf,
  isUnmasked,
  lacksBase,
  requested,
  waitsForItself,
} from "./logic.ts";

const LEVELS = "8259A, Edge and Level Triggered Modes; KVM i8259.c pic_set_irq1";
const IMR = "8259A, OCW1";
const NESTED = "8259A, Fully Nested Mode; KVM i8259.c pic_get_irq";
const CASCADE = "8259A, Cascade Mode; KVM i8259.c pic_update_irq";
const ICW2 = "8259A, ICW2";
const IR7 = "8259A, Interrupt Sequence: IR7 is issued when no request is there at the first INTA";
const LINT0 = "SDM vol. 3, 12.5.1; KVM irq.c kvm_apic_accept_pic_intr";
const TWICE = "MultiProcessor Specification 1.4, 3.6.2";

/** The input's level, and whether it still has an edge to give. */
export const PIC_LINE_RULES: readonly Rule<PicInput>[] = [
  rule("line-high", "open", LEVELS, ({ chip, pin, level, high }) => {
    return level && high && [bitSet(`${chip}.last_irr`, pin), bitSet(`${chip}.elcr`, pin)];
  }),
  rule("line-edge-latched", "pending", LEVELS, (input) => input.high && latched(input)),
  rule("line-low-after-edge", "pending", LEVELS, latched),
  rule("line-edge-consumed", "blocked", LEVELS, ({ chip, pin, high }) => {
    return high && [bitSet(`${chip}.last_irr`, pin), bitClear(`${chip}.irr`, pin)];
  }),
  rule("line-low", "open", LEVELS, ({ chip, pin, pic }) => [
    is(`${chip}.last_irr`, pic.last_irr),
    bitClear(`${chip}.last_irr`, pin),
  ]),
];

function latched({ chip, pin, pic, level, high }: PicInput): Evidence[] | false {
  const line = (high ? bitSet : bitClear)(`${chip}.last_irr`, pin);
  return !level && hasBit(pic.irr, pin) && [bitSet(`${chip}.irr`, pin), line];
}

/** What both of a PIC's rules about its base look at. */
type WithBase = Pick<PicInput, "chip" | "pic" | "vm">;

/** A finding is it only of a PIC that has something to deliver ({@link waitingPics}). */
const NOT_INITIALISED: Rule<WithBase> = rule(
  "pic-not-initialised",
  { hop: "open", finding: ({ vm }) => errorOnceTaken(vm) },
  ICW2,
  ({ chip, pic }) => lacksBase(pic) && [is(`${chip}.irq_base`, hex(pic.irq_base))],
);

/** Whether the PICs would put an input through to INTR once its line has risen. */
export const PIC_RULES: readonly Rule<PicInput>[] = [
  rule("pic-masked", "blocked", IMR, ({ chip, pin, pic }) => maskedBy(chip, pic, pin)),
  rule("pic-cascade-masked", "blocked", IMR, ({ chip, pics: { pic1 } }) => {
    return chip === "pic2" && maskedBy("pic1", pic1, CASCADE_PIN);
  }),
  rule("pic-in-service", "in service", NESTED, (input) => waitsForItself(input) && inService(input)),
  rule("pic-behind-service", "held", NESTED, (input) => {
    const held = heldBack(input);
    if (held?.by !== "service") return undefined;
    const { priority_add } = input.pics[held.chip];
    const rotated = priority_add % 8 === 0 ? [] : [is(`${held.chip}.priority_add`, priority_add)];
    return [...inService(input), ...rotated];
  }),
  rule("pic-behind-request", "held", NESTED, (input) => {
    const held = heldBack(input);
    if (held?.by !== "request") return undefined;
    const { chip, ahead } = held;
    return [
      bitSet(`${chip}.irr`, ahead),
      bitClear(`${chip}.imr`, ahead),
      is(`${chip}.priority_add`, input.pics[chip].priority_add),
    ];
  }),
  // The slave's pulse left nothing in the master: its input 2 is level-triggered, or was high already.
  rule("pic-cascade-lost", "blocked", CASCADE, ({ chip, risen, pics: { pic1 } }) => {
    return (
      chip === "pic2" &&
      requested(risen.pic2, false) !== undefined &&
      !hasBit(risen.pic1.irr, CASCADE_PIN) && [
        is("pic1.elcr", hex(pic1.elcr)),
        is("pic1.last_irr", hex(pic1.last_irr)),
      ]
    );
  }),
  rule("pic-cascade-pin", "open", CASCADE, ({ chip, pin, pics: { pic2 }, answer }) => {
    return (
      chip === "pic1" &&
      pin === CASCADE_PIN &&
      answer !== undefined && [
        is("pic2.irq_base", hex(pic2.irq_base)),
        ...(answer.spurious ? [] : [bitSet("pic2.irr", answer.pin)]),
      ]
    );
  }),
  NOT_INITIALISED,
  rule("pic-open", "open", NESTED, ({ chip, pin, pic }) => [
    bitClear(`${chip}.imr`, pin),
    is(`${chip}.irq_base`, hex(pic.irq_base)),
  ]),
];

function maskedBy(chip: "pic1" | "pic2", { imr }: PicState, pin: Pin): Evidence[] | false {
  return hasBit(imr, pin) && [is(`${chip}.imr`, hex(imr)), bitSet(`${chip}.imr`, pin)];
}

function inService(input: PicInput): Evidence[] {
  return holdersOf(input).flatMap(({ chip, pic, pins }) => [
    is(`${chip}.isr`, hex(pic.isr)),
    ...pins.map((pin) => bitSet(`${chip}.isr`, pin)),
  ]);
}

/** Where a guest may run: what the PICs request is an error only once a vCPU would take it. Firmware waits, too. */
function errorOnceTaken({ guest, cpus = [] }: Vm): Severity {
  return guest && !cpus.some(interruptible) ? "info" : "error";
}

/** A PIC that has requests waiting which reach a vCPU. */
export interface WaitingPic extends WithBase {
  waiting: number[];
}

/** Those whose requests come as exceptions. */
export function waitingPics(vm: Scene): WaitingPic[] {
  const { pics, hasLapics, intr } = vm;
  if (pics === undefined || (hasLapics && intr === undefined)) return [];
  return (["pic1", "pic2"] as const)
    .map((chip) => ({ vm, chip, pic: pics[chip] }))
    .map((one) => ({ ...one, waiting: bitsOf(one.pic.irr).filter((pin) => isUnmasked(pics, one.chip, pin)) }))
    .filter(({ waiting }) => waiting.length > 0);
}

export const PIC_BASE_FINDINGS: readonly Rule<WaitingPic>[] = [NOT_INITIALISED];

/** A GSI that both a PIC and the IOAPIC would deliver. */
export interface DoublyOpen {
  gsi: Gsi;
  chip: "pic1" | "pic2";
  /** Of the PIC, and of the IOAPIC. */
  input: number;
  pin: Pin;
}

export function doublyOpen({ snapshot, pics, intr, cpus, routes }: Scene): DoublyOpen[] {
  const { ioapic } = snapshot.chips;
  if (pics === undefined || ioapic === undefined || intr === undefined) return [];
  return routes.flatMap(({ gsi, chip, pin: input }) => {
    if (chip === "ioapic" || !isUnmasked(pics, chip, input)) return [];
    const pin = routes.find((route) => route.gsi === gsi && route.chip === "ioapic")?.pin;
    const entry = pin === undefined ? undefined : ioapic.redirtbl[pin];
    if (pin === undefined || entry === undefined || entry.mask || !hasVector(entry.delivery_mode)) return [];
    if (!destinationOf(entry, cpus).cpus.some(softwareEnabled) || entry.vector < FIRST_LEGAL_VECTOR)
      return [];
    return [{ gsi, chip, input, pin }];
  });
}

/**
 * Whether a guest has left the PICs behind: it has an IOAPIC pin open, or uses local APICs. What firmware left
 * unmasked in the PICs is then latched for good, and nobody waits for it.
 */
function usesApics({ snapshot, cpus, guest }: Scene): boolean {
  const pins = snapshot.chips.ioapic?.redirtbl ?? [];
  return (
    guest && (pins.some(({ mask, delivery_mode }) => !mask && hasVector(delivery_mode)) || usesLapics(cpus))
  );
}

/** Whether the GSI of a PIC's input may be open at the IOAPIC, which then takes care of its device. */
function servedByIoapic({ snapshot, possibleRoutes }: Scene, { chip, pin }: Acknowledge): boolean {
  const gsis = possibleRoutes.filter((route) => route.chip === chip && route.pin === pin);
  return possibleRoutes.some(
    (route) =>
      route.chip === "ioapic" &&
      gsis.some(({ gsi }) => gsi === route.gsi) &&
      snapshot.chips.ioapic?.redirtbl[route.pin]?.mask === false,
  );
}

/** The request that a level took back with it, or that was served, between two readings. */
export function levelGone({ snapshot, previous, guest }: Scene): number | undefined {
  const [was, now] = [previous?.chips.pic1, snapshot.chips.pic1];
  // Where a guest runs, a level that was served between the readings looks the same.
  if (guest || now === undefined || was === undefined) return undefined;
  const pin = requested(was, true);
  if (pin === undefined || !hasBit(was.elcr, pin) || hasBit(now.irr | now.isr, pin)) return undefined;
  return pin;
}

/** What to look for at both PICs together. */
export const PIC_FINDINGS: readonly Rule<Scene>[] = [
  rule("double-delivery", { finding: ({ routed }) => (routed ? "warning" : "info") }, TWICE, (vm) => {
    const [first] = doublyOpen(vm);
    return (
      first && [bitClear(`${first.chip}.imr`, first.input), is(`ioapic.redirtbl[${first.pin}].mask`, false)]
    );
  }),
  rule(
    "intr-goes-nowhere",
    { finding: (vm) => (usesApics(vm) ? "info" : errorOnceTaken(vm)) },
    LINT0,
    (vm) => {
      const answer = vm.pics && acknowledge(vm.pics);
      const first = vm.cpus[0];
      if (answer === undefined || first === undefined || intrTarget(vm.cpus) !== undefined) return undefined;
      if (servedByIoapic(vm, answer)) return undefined;
      return [
        answer.spurious ? bitSet("pic1.irr", CASCADE_PIN) : bitSet(`${answer.chip}.irr`, answer.pin),
        lvtLint0(first),
      ];
    },
  ),
  rule(
    "spurious-irq15",
    { finding: (vm) => (errorOnceTaken(vm) === "info" ? "info" : "warning") },
    IR7,
    ({ pics, intr }) => {
      if (pics === undefined || !hasBit(pics.pic1.irr & ~pics.pic1.imr, CASCADE_PIN)) return undefined;
      if (requested(pics.pic2, false) !== undefined || intr === undefined) return undefined;
      const slave = (["irr", "imr", "isr"] as const).map((field) =>
        is(`pic2.${field}`, hex(pics.pic2[field])),
      );
      return [bitSet("pic1.irr", CASCADE_PIN), bitClear("pic1.imr", CASCADE_PIN), ...slave];
    },
  ),
  rule("spurious-irq7", { finding: "info" }, IR7, (vm) => {
    const pin = levelGone(vm);
    if (pin === undefined) return undefined;
    const earlier = [before(bitSet("pic1.irr", pin)), before(bitSet("pic1.elcr", pin))];
    return [...earlier, bitClear("pic1.irr", pin), bitClear("pic1.isr", pin)];
  }),
];

/** A PIC, and what it has had in service in two readings. */
export interface Serving {
  chip: "pic1" | "pic2";
  still: number[];
}

export function picsServing({ snapshot, previous, paused }: Scene): Serving[] {
  if (paused) return [];
  return (["pic1", "pic2"] as const)
    .map((chip) => ({
      chip,
      still: bitsOf((snapshot.chips[chip]?.isr ?? 0) & (previous?.chips[chip]?.isr ?? 0)),
    }))
    .filter(({ still }) => still.length > 0);
}

export const PIC_SERVICE_FINDINGS: readonly Rule<Serving>[] = [
  rule("pic-in-service-too-long", { finding: "warning" }, "8259A, End of Interrupt", ({ chip, still }) =>
    still.map((pin) => bitSet(`${chip}.isr`, pin)).flatMap((now) => [now, before(now)]),
  ),
];
