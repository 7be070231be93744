import * as v from "valibot";
import { HOST_ARCH } from "../abi/arches.ts";
import { EXIT_STATUS } from "../abi/error.ts";
import { GUEST_PROGRAMS } from "../abi/guest.ts";
import { IRQCHIPS } from "../machine/machine.ts";
import { PRESETS } from "../machine/presets.ts";
import type { HolderMethods } from "./protocol.ts";
import { count, empty, images, integer, jsonrpc, routing, u32, word } from "./shapes.ts";

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
