import type { Pin, Vector } from "../../../abi/numbers.ts";
import { CASCADE_PIN, type PicState } from "./layout.ts";

export { CASCADE_PIN } from "./layout.ts";

/** Whether nobody gave a PIC a vector base (ICW2): its pins then come as vectors 0 to 7. */
export function lacksBase(pic: PicState): boolean {
  return pic.irq_base < 8;
}

/** Both 8259s, as one INTR output. */
export interface PicPair {
  pic1: PicState;
  pic2: PicState;
}

/** Inputs by falling priority: `priority_add` names the highest (rotation moves it). */
function byPriority(pic: PicState): number[] {
  return Array.from({ length: 8 }, (_, place) => (place + pic.priority_add) & 7);
}

/** The first input of a mask in order of priority, and its place in that order; place 8 when there is none. */
function highest(pic: PicState, mask: number): { pin: Pin | undefined; place: number } {
  const order = byPriority(pic);
  const place = order.findIndex((pin) => (mask >> pin) & 1);
  return place < 0 ? { pin: undefined, place: 8 } : { pin: order[place], place };
}

/** The unmasked request of the highest priority. */
export function highestRequest(pic: PicState): number | undefined {
  return highest(pic, pic.irr & ~pic.imr).pin;
}

/**
 * The in-service inputs that hold a request of this input back: itself and those of higher priority, the highest
 * first. The master leaves out the cascade in special fully nested mode. KVM does not honour special mask mode.
 */
export function servicesAhead(pic: PicState, isMaster: boolean, pin: Pin): number[] {
  const order = byPriority(pic);
  const mask = serviceMask(pic, isMaster);
  return order.slice(0, order.indexOf(pin) + 1).filter((input) => (mask >> input) & 1);
}

function serviceMask(pic: PicState, isMaster: boolean): number {
  return isMaster && pic.special_fully_nested_mode !== 0 ? pic.isr & ~(1 << CASCADE_PIN) : pic.isr;
}

/**
 * The input that a PIC requests service for: unmasked, and of higher priority than all in service.
 *
 * @returns 0 to 7, or `undefined` when its INT output is low.
 */
export function requested(pic: PicState, isMaster: boolean): number | undefined {
  const request = highest(pic, pic.irr & ~pic.imr);
  const service = highest(pic, serviceMask(pic, isMaster));
  return request.place < service.place ? request.pin : undefined;
}

/** Whether no IMR stops a device's input; the cascade is not one. */
export function isUnmasked({ pic1, pic2 }: PicPair, chip: "pic1" | "pic2", pin: Pin): boolean {
  if (chip === "pic1") return pin !== CASCADE_PIN && ((pic1.imr >> pin) & 1) === 0;
  return ((pic2.imr >> pin) & 1) === 0 && ((pic1.imr >> CASCADE_PIN) & 1) === 0;
}

/** An input's level goes up or down, as KVM's PICs latch it. */
function setInput(pic: PicState, pin: Pin, level: boolean): PicState {
  const bit = 1 << pin;
  const last_irr = level ? pic.last_irr | bit : pic.last_irr & ~bit;
  if (pic.elcr & bit) return { ...pic, last_irr, irr: level ? pic.irr | bit : pic.irr & ~bit };
  const edge = level && (pic.last_irr & bit) === 0;
  return { ...pic, last_irr, irr: edge ? pic.irr | bit : pic.irr };
}

/**
 * Both PICs after a rise of one input.
 *
 * The slave's output reaches the master as a pulse at its input 2, which is what latches it there.
 */
export function afterRise(pics: PicPair, chip: "pic1" | "pic2", pin: Pin): PicPair {
  const raised = { ...pics, [chip]: setInput(pics[chip], pin, true) };
  if (requested(raised.pic2, false) === undefined) return raised;
  const pulsed = setInput(setInput(raised.pic1, CASCADE_PIN, true), CASCADE_PIN, false);
  return { ...raised, pic1: pulsed };
}

/** What an interrupt acknowledge answers. `spurious` when the slave has withdrawn its request. */
export interface Acknowledge {
  chip: "pic1" | "pic2";
  pin: Pin;
  vector: Vector;
  spurious: boolean;
}

/** What an interrupt acknowledge would answer now; `undefined` when INTR is low. */
export function acknowledge({ pic1, pic2 }: PicPair): Acknowledge | undefined {
  const pin = requested(pic1, true);
  if (pin === undefined) return undefined;
  if (pin !== CASCADE_PIN) {
    return { chip: "pic1", pin, vector: vectorOf(pic1, pin), spurious: false };
  }
  const slavePin = requested(pic2, false);
  return {
    chip: "pic2",
    pin: slavePin ?? 7,
    vector: vectorOf(pic2, slavePin ?? 7),
    spurious: slavePin === undefined,
  };
}

/** Whether an acknowledge answers for an input: for the cascade's, whenever it answers for the slave. */
export function answersFor(answer: Acknowledge | undefined, chip: "pic1" | "pic2", pin: Pin): boolean {
  if (answer === undefined) return false;
  if (chip === "pic1" && pin === CASCADE_PIN) return answer.chip === "pic2";
  return answer.chip === chip && answer.pin === pin && !answer.spurious;
}

/** `irq_base` has its low three bits clear when software set it; a restored one may not. */
export function vectorOf(pic: PicState, pin: Pin): number {
  return (pic.irq_base + pin) & 0xff;
}

/** What happens to a request of an input, before and once its line has risen. */
interface Request {
  chip: "pic1" | "pic2";
  pin: Pin;
  pics: PicPair;
  risen: PicPair;
}

/** Pins of one chip that are in service and hold a pin back. */
export interface Holder {
  chip: "pic1" | "pic2";
  pic: PicState;
  pins: number[];
}

/** All that has to get its EOI first: at the pin's own chip, and for a slave's pin at the master as well. */
export function holdersOf({ chip, pin, pics }: Request): Holder[] {
  return placesOf(chip, pin)
    .map((place) => ({ chip: place.chip, pic: pics[place.chip], pins: aheadAt(pics, place) }))
    .filter(({ pins }) => pins.length > 0);
}

/** The inputs that a request passes: its own, and for the slave's the cascade. */
function placesOf(chip: Holder["chip"], pin: Pin): { chip: Holder["chip"]; pin: Pin }[] {
  return chip === "pic1"
    ? [{ chip, pin }]
    : [
        { chip, pin },
        { chip: "pic1", pin: CASCADE_PIN },
      ];
}

function aheadAt(pics: PicPair, { chip, pin }: { chip: Holder["chip"]; pin: Pin }): number[] {
  return servicesAhead(pics[chip], chip === "pic1", pin);
}

/** Whether an input's own service, and nothing else, keeps its next request waiting. */
export function waitsForItself({ chip, pin, pics }: Request): boolean {
  const pic = pics[chip];
  const again = { ...pic, irr: pic.irr | (1 << pin) };
  return ((pic.isr >> pin) & 1) === 1 && requested(again, chip === "pic1") !== pin;
}

/** What keeps a request back: what is in service, so that the chip's INT output stays low, or one of higher priority. */
export type HeldBack = { chip: Holder["chip"]; pin: Pin } & (
  | { by: "service"; pins: number[] }
  | { by: "request"; ahead: number }
);

/** Where a request is held back, the first place that it passes. */
export function heldBack({ chip, pin, risen }: Request): HeldBack | undefined {
  for (const place of placesOf(chip, pin)) {
    const pic = risen[place.chip];
    const ahead = requested(pic, place.chip === "pic1");
    const pins = aheadAt(risen, place);
    if (ahead !== undefined && ahead !== place.pin) return { ...place, by: "request", ahead };
    if (ahead === undefined && pins.length > 0 && highestRequest(pic) !== undefined)
      return { ...place, by: "service", pins };
  }
  return undefined;
}
