import { advice, changing } from "../../../abi/advice.ts";
import { hex, listed } from "../../../abi/bits.ts";
import type { Gsi, Pin } from "../../../abi/numbers.ts";
import { evidenceText, type WordsByCode } from "../../../text/words.ts";
import type { PicInput, Scene } from "../explain/context.ts";
import { lint0 } from "../lapic/logic.ts";
import type { PicState } from "./layout.ts";
import {
  acknowledge,
  CASCADE_PIN,
  type HeldBack,
  type Holder,
  heldBack,
  holdersOf,
  vectorOf,
} from "./logic.ts";
import { doublyOpen, levelGone, type Serving, type WaitingPic } from "./rules.ts";

export const PIC_LINE_WORDS: WordsByCode<PicInput> = {
  "line-low": { text: ({ chip, pin }) => `${chip} pin ${pin} is low` },
  "line-high": { text: ({ chip, pin }) => `${chip} pin ${pin} is high, and level-triggered` },
  "line-edge-latched": { text: ({ chip, pin }) => `an edge of ${chip} pin ${pin} is latched already` },
  "line-low-after-edge": {
    text: ({ chip, pin }) => `an edge of ${chip} pin ${pin} is latched already, and the line low again`,
  },
  "line-edge-consumed": {
    text: ({ chip, pin }) => `${chip} pin ${pin} is high already and its edge was taken`,
    remedy: ({ gsi }) => releaseFirst(gsi),
  },
};

/** For a line that has given its edge. */
export const releaseFirst = (gsi: Gsi | undefined) =>
  advice`release the line (${changing("release", `${gsi}`)}); the next rise is an edge again`;

const INITIALISE =
  "initialise the PICs with ICW1 to ICW4 (bases such as 0x20 and 0x28), or mask them: write 0xff to ports 0x21 and 0xa1";

export const PIC_WORDS: WordsByCode<PicInput> = {
  "pic-masked": {
    text: ({ chip, pin }) => `${chip === "pic1" ? "" : "pic2 "}IMR bit ${pin}`,
    remedy: ({ chip, pic, pin }) => unmask(chip, pic, pin),
  },
  "pic-cascade-masked": {
    text: `the cascade is masked, pic1 IMR bit ${CASCADE_PIN}`,
    remedy: ({ pics }) => unmask("pic1", pics.pic1, CASCADE_PIN),
  },
  "pic-in-service": {
    text: (input) => `${namesOf(holdersOf(input))} ${are(holdersOf(input))} in service`,
    until: (input) => `once ${ended(holdersOf(input))}`,
    remedy: ({ chip }) => `the guest's handler has to send an EOI to ${chip}`,
  },
  "pic-behind-service": {
    text(input) {
      const held = heldBack(input)!;
      const master = held.chip === "pic2" ? holdersOf(input).filter(({ chip }) => chip === "pic1") : [];
      const too = master.map((holder) => `${namesOf([holder])} ${are([holder])} in service too`);
      return [priorityText(held), ...too].join(", and ");
    },
    evidence(input, facts) {
      const { chip } = heldBack(input)!;
      const special = input.pics[chip].special_mask === 0 ? "" : `; KVM does not honour ${chip}.special_mask`;
      return `${evidenceText(facts)}${special}`;
    },
    until: (input) => `once ${ended(holdersOf(input))}`,
    remedy: (input) =>
      isSingle(holdersOf(input))
        ? `the guest's handler of ${namesOf(holdersOf(input))} has to send an EOI`
        : "the guest's handlers have to send an EOI for each",
  },
  "pic-behind-request": {
    text: (input) => `${aheadOf(input)} is requested first`,
    evidence(input) {
      const { chip } = heldBack(input)!;
      const { irr, imr, priority_add } = input.pics[chip];
      return `${chip}.irr & ~${chip}.imr = ${hex(irr & ~imr & 0xff)}, ${chip}.priority_add = ${priority_add}`;
    },
    until(input) {
      const holders = holdersOf(input);
      return `once ${aheadOf(input)} is served${holders.length === 0 ? "" : ` and ${ended(holders)}`}`;
    },
  },
  "pic-cascade-lost": {
    text: `pic1 does not latch the slave's pulse at its pin ${CASCADE_PIN}`,
    evidence: (_, facts) => `${evidenceText(facts)} (bit ${CASCADE_PIN})`,
    remedy: `the cascade has to be edge-triggered and low: clear pic1.elcr bit ${CASCADE_PIN}, release GSI ${CASCADE_PIN}`,
  },
  "pic-cascade-pin": {
    text: ({ answer }) =>
      `pin ${CASCADE_PIN} is the slave's: an acknowledge answers ${answer!.spurious ? "a spurious" : "its"} IRQ ${8 + answer!.pin}`,
    evidence: ({ answer, pics: { pic2 } }) =>
      `pic2.irr = ${pic2.irr === 0 ? "0" : hex(pic2.irr)}, pic2.irq_base + ${answer!.pin} = ${hex(answer!.vector)}`,
    remedy: `nothing should drive GSI ${CASCADE_PIN}`,
  },
  "pic-not-initialised": {
    text: ({ chip, pic, pin }) =>
      `${chip} was never given a vector base: pin ${pin} comes as vector ${hex(vectorOf(pic, pin))}`,
    note: ({ chip, pic, pin }) =>
      `${chip} was never given a vector base, so that vector ${hex(vectorOf(pic, pin))} is an exception's`,
    remedy: INITIALISE,
  },
  "pic-open": {
    text: ({ chip, pin }) => `${chip} requests pin ${pin}`,
    evidence: ({ chip, pin, pic }) =>
      `${chip}.imr bit ${pin} clear, nothing of higher priority in ${chip}.irr or ${chip}.isr, ${chip}.irq_base = ${hex(pic.irq_base)}`,
  },
};

/** While an initialisation is under way, what is written to the port of the IMR is its next word. */
function unmask(chip: Holder["chip"], { imr, init_state }: PicState, pin: Pin): string {
  const port = chip === "pic1" ? "0x21" : "0xa1";
  const write = `clear ${chip}.imr bit ${pin}: write ${hex(imr & ~(1 << pin))} to port ${port}`;
  return init_state === 0
    ? write
    : `${chip} waits for ICW${init_state + 1} (${chip}.init_state = ${init_state}): write the rest of ICW1 to ICW4 first, then ${write}`;
}

/** "pic2 pin 0 and pic1 pins 1 and 2". */
function namesOf(holders: readonly Holder[]): string {
  return listed(holders.map(({ chip, pins }) => `${chip} ${pinsOf(pins)}`));
}

function pinsOf(pins: readonly number[]): string {
  return `pin${pins.length === 1 ? "" : "s"} ${listed(pins.map(String))}`;
}

function isSingle(holders: readonly Holder[]): boolean {
  return holders.flatMap(({ pins }) => pins).length === 1;
}

const are = (holders: readonly Holder[]) => (isSingle(holders) ? "is" : "are");

function ended(holders: readonly Holder[]): string {
  return `${namesOf(holders)} ${isSingle(holders) ? "gets its EOI" : "get their EOI"}`;
}

function aheadOf(input: PicInput): string {
  const held = heldBack(input)!;
  return held.by === "request" ? `${held.chip} pin ${held.ahead}` : "";
}

function priorityText(held: HeldBack): string {
  const pins = held.by === "service" ? held.pins : [];
  const others = pins.filter((other) => other !== held.pin);
  const has = others.length === 1 ? "has" : "have";
  const first = `${held.chip} ${pinsOf(others)}, in service, ${has} priority over pin ${held.pin}`;
  const own = `another pin of the slave is in service (pic1.isr bit ${held.pin})`;
  if (others.length === 0) return own;
  return pins.includes(held.pin) ? `${first}, and ${own}` : first;
}

export const PIC_BASE_FINDING_WORDS: WordsByCode<WaitingPic> = {
  "pic-not-initialised": {
    text({ chip, pic, waiting }) {
      const vectors = listed(waiting.map((pin) => hex(vectorOf(pic, pin))));
      return `${chip} was never given a vector base, and its ${waiting.length === 1 ? `pin ${waiting[0]} waits: it comes as vector ${vectors}, an exception's` : `pins ${listed(waiting.map(String))} wait: they come as vectors ${vectors}, which are exceptions'`}`;
    },
    evidence: ({ chip, pic }) =>
      `${chip}.irq_base = ${hex(pic.irq_base)}, ${chip}.irr = ${hex(pic.irr)}, ${chip}.imr = ${hex(pic.imr)}`,
    remedy: INITIALISE,
  },
};

export const PIC_FINDING_WORDS: WordsByCode<Scene> = {
  "double-delivery": {
    text(vm) {
      const found = doublyOpen(vm);
      const doubt = vm.routed ? "" : ", if it goes to both, as under KVM's default routing";
      return `GSI ${listed(found.map(({ gsi }) => String(gsi)))} ${found.length > 1 ? "are" : "is"} open at the PIC and at the IOAPIC: each interrupt comes twice${doubt}`;
    },
    evidence(vm) {
      const { gsi, chip, input, pin } = doublyOpen(vm)[0]!;
      return `GSI ${gsi}: PIC unmasked (vector ${hex(vectorOf(vm.pics![chip], input))}), ioapic.redirtbl[${pin}].mask = false, LINT0 lets INTR in`;
    },
    remedy: "mask the PICs (write 0xff to ports 0x21 and 0xa1), or mask LINT0, before using the IOAPIC",
  },
  "intr-goes-nowhere": {
    text({ pics, cpus }) {
      const { chip, pin } = acknowledge(pics!)!;
      const why = lint0(cpus[0]!) === "masked" ? "masked" : "not in ExtINT mode";
      return `the PICs request pin ${pin} of ${chip}, and LINT0 is ${why}: no PIC interrupt reaches a vCPU`;
    },
    remedy:
      "set LINT0 of the bootstrap processor to ExtINT, unmasked (0x700), or mask the PICs and use the IOAPIC",
  },
  "spurious-irq15": {
    text: ({ pics }) =>
      `pic1 has the slave's request latched and pic2 has none: an acknowledge answers a spurious IRQ 15 (vector ${hex(vectorOf(pics!.pic2, 7))})`,
    evidence: ({ pics }) =>
      `pic1.irr bit ${CASCADE_PIN} set, pic2.irr & ~pic2.imr = ${hex(pics!.pic2.irr & ~pics!.pic2.imr & 0xff)}`,
    remedy: "the guest's IRQ 15 handler has to read the slave's ISR, and send an EOI to the master alone",
  },
  "spurious-irq7": {
    text: (vm) =>
      `the level of pic1 pin ${levelGone(vm)} was served, or went down while it was requested: an 8259 answers an acknowledge in that moment with a spurious IRQ 7`,
    evidence(vm) {
      const pin = levelGone(vm);
      return `pic1.irr bit ${pin} set before and clear now, pic1.isr bit ${pin} clear, pic1.elcr bit ${pin} set`;
    },
    remedy:
      "the device has to hold a level until its handler tells it to stop; IRQ 7's handler has to check the ISR",
  },
};

export const PIC_SERVICE_WORDS: WordsByCode<Serving> = {
  "pic-in-service-too-long": {
    text: ({ chip, still }) =>
      `${chip} pin ${listed(still.map(String))} is in service in two readings: its EOI is late (or it is in service again)`,
    evidence: ({ chip, still }) => `${chip}.isr bit ${still.join(", ")} set before and now`,
    remedy: ({ chip }) =>
      `the guest's handler has to send an EOI to ${chip}${chip === "pic2" ? " and to pic1" : ""}; pins of lower priority wait for it`,
  },
};
