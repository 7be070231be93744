import { HOST_ARCH } from "../arch/arches.ts";
import { imageSizes } from "../arch/codec.ts";
import type { ChipId } from "./chip.ts";
import type { Shape } from "./facts.ts";
import { GUEST_PROGRAMS } from "./guest.ts";

/**
 * What may be in a message, on either side of the socket: whatever differs is refused before it is used. Every
 * command and every holder loads this, so that these are plain functions: valibot would cost a short command a
 * twentieth of its time, and each holder half a megabyte.
 */

/** Whether a value is as it should be. It looks at no more than it has to: a long list is not read to its end. */
export type Guard = (value: unknown) => boolean;
type Fields = Record<string, Guard>;

/** Every chip and vCPU of the largest VM, once each. */
const MAX_IMAGES = 3 + 2 * HOST_ARCH.maxVcpus;
/** A local APIC has 1368 characters, a vCPU's state fewer. */
const LONGEST_IMAGE = 2048;
const LONGEST_WORD = 64;

export const integer: Guard = Number.isSafeInteger;
export const text: Guard = (value) => typeof value === "string";
export const flag: Guard = (value) => typeof value === "boolean";
export const word: Guard = (value) => typeof value === "string" && value.length <= LONGEST_WORD;

/** A whole number from 0. */
export function upTo(most: number): Guard {
  return (value) => Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= most;
}

export const count = upTo(Number.MAX_SAFE_INTEGER);
export const u32 = upTo(0xffff_ffff);

export function exactly(...wanted: unknown[]): Guard {
  return (value) => wanted.includes(value);
}

export function either(...guards: Guard[]): Guard {
  return (value) => guards.some((guard) => guard(value));
}

export function keyOf(names: object): Guard {
  return (value) => typeof value === "string" && Object.hasOwn(names, value);
}

export function listOf(item: Guard, most = Number.POSITIVE_INFINITY): Guard {
  return (value) => Array.isArray(value) && value.length <= most && value.every(item);
}

/** An object with these fields, some of which may be missing; what else it has is of no interest. */
export function object(required: Fields, optional: Fields = {}): Guard {
  const has = (value: object, name: string, guard: Guard) => guard((value as Record<string, unknown>)[name]);
  return (value) =>
    typeof value === "object" &&
    value !== null &&
    Object.entries(required).every(
      ([name, guard]) => Object.hasOwn(value, name) && has(value, name, guard),
    ) &&
    Object.entries(optional).every(([name, guard]) => !Object.hasOwn(value, name) || has(value, name, guard));
}

/** An object with these fields and no others. */
export function only(required: Fields, optional: Fields = {}): Guard {
  const guard = object(required, optional);
  const known = keyOf({ ...required, ...optional });
  return (value) => guard(value) && !Array.isArray(value) && Object.keys(value as object).every(known);
}

export const empty = only({});
const chipId: Guard = (value) => word(value) && HOST_ARCH.controller(value as ChipId) !== undefined;
export const chipIds = listOf(chipId, MAX_IMAGES);

const image = only({
  id: chipId,
  base64: (value) => text(value) && (value as string).length <= LONGEST_IMAGE,
});
const wholeImage: Guard = (value) => {
  if (!image(value)) return false;
  const { id, base64 } = value as { id: ChipId; base64: string };
  const bytes = Buffer.from(base64, "base64");
  return imageSizes(HOST_ARCH, id).includes(bytes.length) && bytes.toString("base64") === base64;
};
/** Chips as they travel: their bytes as base64. */
export const images = listOf(wholeImage, MAX_IMAGES);

const SHAPES: Record<Extract<Shape, string>, Guard> = {
  flag,
  text,
  chip: keyOf(HOST_ARCH.routing.inputs),
  u8: upTo(0xff),
  u16: upTo(0xffff),
  u32,
  u64: either(count, (value) => text(value) && /^0x[0-9a-f]{1,16}$/.test(value as string)),
  integer,
  null: exactly(null),
};

/** What a fact has to be, as it travels. */
export function shapeGuard(shape: Shape): Guard {
  if (typeof shape === "string") return SHAPES[shape];
  if ("list" in shape) return listOf(shapeGuard(shape.list), shape.most);
  if ("either" in shape) return either(...shape.either.map(shapeGuard));
  if (!("has" in shape)) return exactly(...shape);
  const all = (shapes: typeof shape.has = {}) =>
    Object.fromEntries(Object.entries(shapes).map(([name, one]) => [name, shapeGuard(one)]));
  return object(all(shape.has), all(shape.may));
}

export const message = only({ address: u32, data: u32 });
const route = either(
  only({ gsi: u32, chip: keyOf(HOST_ARCH.routing.inputs), pin: u32 }),
  only({ gsi: u32, msi: message }),
);
export const routing = either(exactly("default"), listOf(route));
export const guest = object(
  { program: keyOf(GUEST_PROGRAMS), running: flag, handled: listOf(object({ vector: upTo(255), count })) },
  { ended: text },
);
