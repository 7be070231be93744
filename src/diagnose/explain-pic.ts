import { hasBit, hex } from "./bits.ts";
import type { PicContext } from "./explain-context.ts";
import { type Check, runChecks, type Stage } from "./explanation.ts";
import {
  CASCADE_PIN,
  highestInService,
  highestRequest,
  lacksBase,
  requested,
  vectorOf,
} from "./pic-logic.ts";

/** Stage 3: whether the PICs would put this pin through to INTR once its line has risen. */
export function picStage(context: PicContext): Stage {
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

function inService({ chip, pin, pic }: PicContext) {
  if (!hasBit(pic.isr, pin) || isRequested(chip, pin, pic)) return undefined;
  return {
    state: "in service" as const,
    code: "pic-in-service",
    text: `${chip} pin ${pin} is in service`,
    evidence: `${chip}.isr = ${hex(pic.isr)} (bit ${pin} set)`,
    until: `once ${chip} pin ${pin} gets its EOI`,
    remedy: `the guest's handler has to send an EOI to ${chip}`,
  };
}

function isRequested(chip: "pic1" | "pic2", pin: number, pic: PicContext["pic"]): boolean {
  return requested({ ...pic, irr: pic.irr | (1 << pin) }, chip === "pic1") === pin;
}

function behindService({ chip, pin, risen }: PicContext) {
  return heldByService(chip, risen[chip], pin);
}

function behindRequest({ chip, pin, risen }: PicContext) {
  return heldByRequest(chip, risen[chip], pin);
}

function masterBehindService({ chip, risen }: PicContext) {
  return chip === "pic1" ? undefined : heldByService("pic1", risen.pic1, CASCADE_PIN);
}

function masterBehindRequest({ chip, risen }: PicContext) {
  return chip === "pic1" ? undefined : heldByRequest("pic1", risen.pic1, CASCADE_PIN);
}

/** Something in service outranks (or is) the best request, so the chip's INT output stays low. */
function heldByService(chip: "pic1" | "pic2", pic: PicContext["pic"], pin: number) {
  const serving = highestInService(pic, chip === "pic1");
  if (serving === undefined || requested(pic, chip === "pic1") !== undefined) return undefined;
  if (highestRequest(pic) === undefined) return undefined;
  const rank = pic.priority_add % 8 === 0 ? "" : `, ${chip}.priority_add = ${pic.priority_add}`;
  const special = pic.special_mask === 0 ? "" : `; KVM does not honour ${chip}.special_mask`;
  return {
    state: "held" as const,
    code: "pic-behind-service",
    text:
      serving === pin
        ? `another pin of the slave is in service (pic1.isr bit ${pin})`
        : `${chip} pin ${serving}, in service, has priority over pin ${pin}`,
    evidence: `${chip}.isr = ${hex(pic.isr)} (bit ${serving} set)${rank}${special}`,
    until: `once ${chip} pin ${serving} gets its EOI`,
    remedy: `the guest's handler of ${chip} pin ${serving} has to send an EOI`,
  };
}

function heldByRequest(chip: "pic1" | "pic2", pic: PicContext["pic"], pin: number) {
  const ahead = requested(pic, chip === "pic1");
  if (ahead === undefined || ahead === pin) return undefined;
  return {
    state: "held" as const,
    code: "pic-behind-request",
    text: `${chip} pin ${ahead} is requested first`,
    evidence: `${chip}.irr & ~${chip}.imr = ${hex(pic.irr & ~pic.imr & 0xff)}, ${chip}.priority_add = ${pic.priority_add}`,
    until: `once ${chip} pin ${ahead} is served`,
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
