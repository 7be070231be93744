import * as v from "valibot";
import { HOST_ARCH } from "../abi/arches.ts";
import { type ChipId, isChipId, parseChipId, STATE_SIZE } from "../abi/chip.ts";
import { EXIT_STATUS } from "../abi/error.ts";
import { GUEST_PROGRAMS } from "../abi/guest.ts";
import { VCPU_IMAGE } from "../abi/x86/vcpu.ts";
import { IRQCHIPS } from "../machine/machine.ts";
import { PRESETS } from "../machine/presets.ts";
import type { HolderMethods } from "./protocol.ts";

/** What may be in a message, on either side of the socket: whatever differs is refused before it is used. */

/** The most line changes or MSIs in one request: a few hundred milliseconds of the holder's time. */
const MAX_STEPS = 10_000;
/** Every chip and vCPU of the largest VM, once each. */
const MAX_IMAGES = 3 + 2 * HOST_ARCH.maxVcpus;
/** A local APIC has 1368 characters, a vCPU's state fewer. */
const LONGEST_IMAGE = 2048;
const LONGEST_WORD = 64;

const word = v.pipe(v.string(), v.maxLength(LONGEST_WORD));
const integer = v.pipe(v.number(), v.safeInteger());
const count = v.pipe(integer, v.minValue(0));
const u32 = v.pipe(count, v.maxValue(0xffff_ffff));
const empty = v.strictObject({});

const chipId = v.custom<ChipId>(
  (value) => typeof value === "string" && value.length <= LONGEST_WORD && isChipId(value),
  "not a chip's id",
);
const image = v.pipe(
  v.strictObject({ id: chipId, base64: v.pipe(v.string(), v.maxLength(LONGEST_IMAGE), v.base64()) }),
  v.check(({ id, base64 }) => hasItsSize(id, base64), "the chip's state has another size"),
);
const images = v.pipe(v.array(image), v.maxLength(MAX_IMAGES));

function hasItsSize(id: ChipId, base64: string): boolean {
  const { kind } = parseChipId(id);
  return Buffer.byteLength(base64, "base64") === (kind === "vcpu" ? VCPU_IMAGE.size : STATE_SIZE[kind]);
}

const message = v.strictObject({ address: u32, data: u32 });
const route = v.union([
  v.strictObject({ gsi: u32, chip: v.picklist(["pic1", "pic2", "ioapic"]), pin: u32 }),
  v.strictObject({ gsi: u32, msi: message }),
]);
const routing = v.union([v.literal("default"), v.array(route)]);

const irqfdAction = v.variant("do", [
  v.strictObject({ do: v.literal("bind"), gsi: u32, resample: v.boolean() }),
  v.strictObject({
    do: v.literal("kick"),
    gsi: u32,
    count: v.pipe(count, v.minValue(1), v.maxValue(MAX_STEPS)),
  }),
  v.strictObject({ do: v.literal("unbind"), gsi: u32 }),
  v.strictObject({ do: v.literal("list") }),
]);

/** What each method takes. */
export const PARAMS = {
  describe: empty,
  peek: empty,
  readChips: v.strictObject({ ids: v.pipe(v.array(chipId), v.maxLength(MAX_IMAGES)) }),
  writeChips: v.strictObject({ images, expected: images }),
  setIrqLines: v.strictObject({
    steps: v.pipe(v.array(v.strictObject({ gsi: u32, level: v.picklist([0, 1]) })), v.maxLength(MAX_STEPS)),
    transient: v.boolean(),
  }),
  setRouting: v.strictObject({ routing }),
  signalMsis: v.strictObject({ messages: v.pipe(v.array(message), v.maxLength(MAX_STEPS)) }),
  irqfd: v.strictObject({ action: irqfdAction }),
  destroy: empty,
} as const;

const info = v.object({
  name: word,
  protocol: integer,
  backend: v.picklist(["kvm", "model"]),
  pid: count,
  vcpus: v.pipe(count, v.maxValue(HOST_ARCH.maxVcpus)),
  preset: v.exactOptional(v.picklist(Object.keys(PRESETS) as (keyof typeof PRESETS)[])),
  from: v.exactOptional(v.string()),
  created_at: v.pipe(word, v.isoTimestamp()),
  ttl_ms: v.exactOptional(v.number()),
  host: v.object({
    kernel: v.string(),
    arch: v.literal(HOST_ARCH.name),
    kvm_api_version: v.exactOptional(integer),
  }),
  irqchip: v.picklist(Object.keys(IRQCHIPS) as (keyof typeof IRQCHIPS)[]),
  routing,
  guest: v.exactOptional(
    v.object({
      program: v.picklist(Object.keys(GUEST_PROGRAMS) as (keyof typeof GUEST_PROGRAMS)[]),
      running: v.boolean(),
      ended: v.exactOptional(v.string()),
      handled: v.array(v.object({ vector: v.pipe(count, v.maxValue(255)), count })),
    }),
  ),
});
const statuses = v.object({ statuses: v.array(v.nullable(integer)) });
const irqfd = v.object({ gsi: u32, resample: v.boolean(), kicks: count, resampled: v.exactOptional(count) });

/** What each method gives. */
export const RESULTS: { [M in keyof HolderMethods]: v.GenericSchema<unknown, HolderMethods[M]["result"]> } = {
  describe: info,
  peek: info,
  readChips: v.object({ images }),
  writeChips: empty,
  setIrqLines: statuses,
  setRouting: empty,
  signalMsis: statuses,
  irqfd: v.object({ irqfds: v.array(irqfd) }),
  destroy: empty,
};

const jsonrpc = v.literal("2.0");

export const REQUEST = v.strictObject({
  jsonrpc,
  id: v.union([integer, word]),
  method: word,
  params: v.exactOptional(v.unknown(), {}),
});

/** An answer's id is null where the request's could not be read. */
export const REPLY = v.union([
  v.strictObject({ jsonrpc, id: integer, result: v.unknown() }),
  v.strictObject({
    jsonrpc,
    id: v.nullable(integer),
    error: v.strictObject({ code: integer, message: v.string(), data: v.exactOptional(v.unknown()) }),
  }),
]);

/** A {@link KvmIrqError} as JSON. */
export const REFUSAL = v.looseObject({
  code: v.picklist(Object.keys(EXIT_STATUS)),
  message: v.string(),
  hint: v.exactOptional(v.string()),
});

/** What a message says, or what is wrong with it, in a few words. */
export type Read<T> = { output: T } | { wrong: string };

/** Holds what came over a socket against what may be there. */
export function read<T>(shape: v.GenericSchema<unknown, T>, value: unknown): Read<T> {
  const result = v.safeParse(shape, value, { abortEarly: true });
  if (result.success) return { output: result.output };
  const [issue] = result.issues;
  return { wrong: `${v.getDotPath(issue) ?? "it"}: ${issue.message}`.slice(0, 200) };
}
