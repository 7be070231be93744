import * as v from "valibot";
import { HOST_ARCH } from "../abi/arches.ts";
import { type ChipId, isChipId, parseChipId, STATE_SIZE } from "../abi/chip.ts";
import { VCPU_IMAGE } from "../abi/x86/vcpu.ts";

/** What may be in a message, on either side of the socket: whatever differs is refused before it is used. */

/** Every chip and vCPU of the largest VM, once each. */
export const MAX_IMAGES = 3 + 2 * HOST_ARCH.maxVcpus;
/** A local APIC has 1368 characters, a vCPU's state fewer. */
const LONGEST_IMAGE = 2048;
const LONGEST_WORD = 64;

export const jsonrpc = v.literal("2.0");
export const word = v.pipe(v.string(), v.maxLength(LONGEST_WORD));
export const integer = v.pipe(v.number(), v.safeInteger());
export const count = v.pipe(integer, v.minValue(0));
export const u32 = v.pipe(count, v.maxValue(0xffff_ffff));
export const empty = v.strictObject({});

export const chipId = v.custom<ChipId>(
  (value) => typeof value === "string" && value.length <= LONGEST_WORD && isChipId(value),
  "not a chip's id",
);
const image = v.pipe(
  v.strictObject({ id: chipId, base64: v.pipe(v.string(), v.maxLength(LONGEST_IMAGE), v.base64()) }),
  v.check(({ id, base64 }) => hasItsSize(id, base64), "the chip's state has another size"),
);
export const images = v.pipe(v.array(image), v.maxLength(MAX_IMAGES));

function hasItsSize(id: ChipId, base64: string): boolean {
  const { kind } = parseChipId(id);
  return Buffer.byteLength(base64, "base64") === (kind === "vcpu" ? VCPU_IMAGE.size : STATE_SIZE[kind]);
}

export const message = v.strictObject({ address: u32, data: u32 });
const route = v.union([
  v.strictObject({ gsi: u32, chip: v.picklist(["pic1", "pic2", "ioapic"]), pin: u32 }),
  v.strictObject({ gsi: u32, msi: message }),
]);
export const routing = v.union([v.literal("default"), v.array(route)]);

/** What a message says, or what is wrong with it, in a few words. */
export type Read<T> = { output: T } | { wrong: string };

/** Holds what came over a socket against what may be there. */
export function read<T>(shape: v.GenericSchema<unknown, T>, value: unknown): Read<T> {
  const result = v.safeParse(shape, value, { abortEarly: true });
  if (result.success) return { output: result.output };
  const [issue] = result.issues;
  return { wrong: `${v.getDotPath(issue) ?? "it"}: ${issue.message}`.slice(0, 200) };
}
