import { hasBit, hex, listed } from "../../../abi/bits.ts";
import { type Check, runChecks, type StageDraft } from "../../../rules/explanation.ts";
import type { PicContext } from "../explain/context.ts";
import { CASCADE_PIN, highestRequest, lacksBase, requested, servicesAhead, vectorOf } from "./logic.ts";

/** Stage 3: whether the PICs would put this pin through to INTR once its line has risen. */
export function picStage(context: PicContext): StageDraft {
  const { chip, pin, pic } = context;
  return runChecks("pic", PIC_CHECKS, context, {
    state: "open",
    code: "pic-open",
    text: `${context.chip} requests pin ${pin}`,
    evidence: `${chip}.imr bit ${pin} clear, nothing of higher priority in ${chip}.irr or ${chip}.isr, ${chip}.irq_base = ${hex(pic.irq_base)}`,
  });
}

const PIC_CHECKS: readonly Check<PicContext>[] = [
  masked,
  cascadeMasked,
  inService,
  behindService,
  behindRequest,
  masterBehindService,
  masterBehindRequest,
  cascadeLost,
  cascadePin,
  unprogrammed,
];

function masked({ chip, pin, pic }: PicContext) {
  if (!hasBit(pic.imr, pin)) return undefined;
  return {
    state: "blocked" as const,
    code: "pic-masked",
    text: `${chip === "pic1" ? "" : "pic2 "}IMR bit ${pin}`,
    evidence: `${chip}.imr = ${hex(pic.imr)} (bit ${pin} set)`,
    remedy: unmask(chip, pic, pin),
  };
}

/** While an initialisation is under way, what is written to the port of the IMR is its next word. */
function unmask(chip: "pic1" | "pic2", { imr, init_state }: PicContext["pic"], pin: number): string {
  const port = chip === "pic1" ? "0x21" : "0xa1";
  const write = `clear ${chip}.imr bit ${pin}: write ${hex(imr & ~(1 << pin))} to port ${port}`;
  return init_state === 0
    ? write
    : `${chip} waits for ICW${init_state + 1} (${chip}.init_state = ${init_state}): write the rest of ICW1 to ICW4 first, then ${write}`;
}

function cascadeMasked({ chip, pics: { pic1 } }: PicContext) {
  if (chip === "pic1" || !hasBit(pic1.imr, CASCADE_PIN)) return undefined;
  return {
    state: "blocked" as const,
    code: "pic-cascade-masked",
    text: `the cascade is masked, pic1 IMR bit ${CASCADE_PIN}`,
    evidence: `pic1.imr = ${hex(pic1.imr)} (bit ${CASCADE_PIN} set)`,
    remedy: unmask("pic1", pic1, CASCADE_PIN),
  };
}

function inService(context: PicContext) {
  const { chip, pin, pic } = context;
  if (!hasBit(pic.isr, pin) || isRequested(chip, pin, pic)) return undefined;
  const holders = holdersOf(context);
  return {
    state: "in service" as const,
    code: "pic-in-service",
    text: `${namesOf(holders)} ${isSingle(holders) ? "is" : "are"} in service`,
    evidence: holders.map(evidenceOf).join(", "),
    until: `once ${ended(holders)}`,
    remedy: `the guest's handler has to send an EOI to ${chip}`,
  };
}

function isRequested(chip: "pic1" | "pic2", pin: number, pic: PicContext["pic"]): boolean {
  return requested({ ...pic, irr: pic.irr | (1 << pin) }, chip === "pic1") === pin;
}

/** Pins of one chip that are in service and hold a pin back. */
interface Holder {
  chip: "pic1" | "pic2";
  pic: PicContext["pic"];
  pins: number[];
}

/** All that has to get its EOI first: at the pin's own chip, and for a slave's pin at the master as well. */
function holdersOf({ chip, pin, pics }: PicContext): Holder[] {
  const all = [holderAt(chip, pics[chip], pin)];
  if (chip === "pic2") all.push(holderAt("pic1", pics.pic1, CASCADE_PIN));
  return all.filter(({ pins }) => pins.length > 0);
}

function holderAt(chip: Holder["chip"], pic: PicContext["pic"], pin: number): Holder {
  return { chip, pic, pins: servicesAhead(pic, chip === "pic1", pin) };
}

/** "pic2 pin 0 and pic1 pins 1 and 2". */
function namesOf(holders: readonly Holder[]): string {
  const names = holders.map(({ chip, pins }) => `${chip} ${pinsOf(pins)}`);
  return listed(names);
}

function pinsOf(pins: readonly number[]): string {
  return `pin${pins.length === 1 ? "" : "s"} ${listed(pins.map(String))}`;
}

function isSingle(holders: readonly Holder[]): boolean {
  return holders.flatMap(({ pins }) => pins).length === 1;
}

function ended(holders: readonly Holder[]): string {
  return `${namesOf(holders)} ${isSingle(holders) ? "gets its EOI" : "get their EOI"}`;
}

function evidenceOf({ chip, pic, pins }: Holder): string {
  return `${chip}.isr = ${hex(pic.isr)} (bit${pins.length === 1 ? "" : "s"} ${listed(pins.map(String))} set)`;
}

function behindService(context: PicContext) {
  return heldByService(context, context.chip, context.pin);
}

function behindRequest(context: PicContext) {
  return heldByRequest(context, context.chip, context.pin);
}

function masterBehindService(context: PicContext) {
  return context.chip === "pic1" ? undefined : heldByService(context, "pic1", CASCADE_PIN);
}

function masterBehindRequest(context: PicContext) {
  return context.chip === "pic1" ? undefined : heldByRequest(context, "pic1", CASCADE_PIN);
}

/** What is in service outranks (or is) the best request, so the chip's INT output stays low. */
function heldByService(context: PicContext, chip: "pic1" | "pic2", pin: number) {
  const pic = context.risen[chip];
  const { pins } = holderAt(chip, pic, pin);
  if (pins.length === 0 || requested(pic, chip === "pic1") !== undefined) return undefined;
  if (highestRequest(pic) === undefined) return undefined;
  const holders = holdersOf(context);
  const rank = pic.priority_add % 8 === 0 ? "" : `, ${chip}.priority_add = ${pic.priority_add}`;
  const special = pic.special_mask === 0 ? "" : `; KVM does not honour ${chip}.special_mask`;
  const master = chip === "pic2" ? holders.filter((holder) => holder.chip === "pic1") : [];
  return {
    state: "held" as const,
    code: "pic-behind-service",
    text: [priorityText(chip, pins, pin), ...master.map(alsoInService)].join(", and "),
    evidence: `${holders.map(evidenceOf).join(", ")}${rank}${special}`,
    until: `once ${ended(holders)}`,
    remedy: isSingle(holders)
      ? `the guest's handler of ${namesOf(holders)} has to send an EOI`
      : "the guest's handlers have to send an EOI for each",
  };
}

function priorityText(chip: "pic1" | "pic2", pins: readonly number[], pin: number): string {
  const others = pins.filter((other) => other !== pin);
  const has = others.length === 1 ? "has" : "have";
  const before = `${chip} ${pinsOf(others)}, in service, ${has} priority over pin ${pin}`;
  const own = `another pin of the slave is in service (pic1.isr bit ${pin})`;
  if (others.length === 0) return own;
  return pins.includes(pin) ? `${before}, and ${own}` : before;
}

function alsoInService(holder: Holder): string {
  return `${namesOf([holder])} ${isSingle([holder]) ? "is" : "are"} in service too`;
}

function heldByRequest(context: PicContext, chip: "pic1" | "pic2", pin: number) {
  const pic = context.risen[chip];
  const ahead = requested(pic, chip === "pic1");
  if (ahead === undefined || ahead === pin) return undefined;
  const holders = holdersOf(context);
  return {
    state: "held" as const,
    code: "pic-behind-request",
    text: `${chip} pin ${ahead} is requested first`,
    evidence: `${chip}.irr & ~${chip}.imr = ${hex(pic.irr & ~pic.imr & 0xff)}, ${chip}.priority_add = ${pic.priority_add}`,
    until: `once ${chip} pin ${ahead} is served${holders.length === 0 ? "" : ` and ${ended(holders)}`}`,
  };
}

/** The slave's pulse left nothing in the master: its input 2 is level-triggered, or was high already. */
function cascadeLost({ chip, risen: { pic1, pic2 } }: PicContext) {
  if (chip === "pic1" || requested(pic2, false) === undefined || hasBit(pic1.irr, CASCADE_PIN))
    return undefined;
  return {
    state: "blocked" as const,
    code: "pic-cascade-lost",
    text: `pic1 does not latch the slave's pulse at its pin ${CASCADE_PIN}`,
    evidence: `pic1.elcr = ${hex(pic1.elcr)}, pic1.last_irr = ${hex(pic1.last_irr)} (bit ${CASCADE_PIN})`,
    remedy: `the cascade has to be edge-triggered and low: clear pic1.elcr bit ${CASCADE_PIN}, release GSI ${CASCADE_PIN}`,
  };
}

function cascadePin({ chip, pin, answer }: PicContext) {
  if (chip === "pic2" || pin !== CASCADE_PIN || answer === undefined) return undefined;
  return {
    state: "open" as const,
    code: "pic-cascade-pin",
    text: `pin ${CASCADE_PIN} is the slave's: an acknowledge answers ${answer.spurious ? "a spurious" : "its"} IRQ ${8 + answer.pin}`,
    evidence: `pic2.irr = 0, pic2.irq_base + 7 = ${hex(answer.vector)}`,
    remedy: `nothing should drive GSI ${CASCADE_PIN}`,
  };
}

function unprogrammed({ chip, pin, pic }: PicContext) {
  if (!lacksBase(pic)) return undefined;
  const vector = vectorOf(pic, pin);
  return {
    state: "open" as const,
    code: "pic-not-initialised",
    text: `${chip} was never given a vector base: pin ${pin} comes as vector ${hex(vector)}`,
    evidence: `${chip}.irq_base = ${hex(pic.irq_base)}`,
    note: `${chip} was never given a vector base, so that vector ${hex(vector)} is an exception's`,
    remedy:
      "initialise the PICs with ICW1 to ICW4 (bases such as 0x20 and 0x28), or mask them: write 0xff to ports 0x21 and 0xa1",
  };
}
