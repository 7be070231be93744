import * as v from "valibot";
import type { ChipId } from "../abi/chip.ts";
import { isChipId } from "../abi/chip.ts";
import { KvmIrqError } from "../abi/error.ts";
import { type Machine, readChips, signalMsis } from "../machine/machine.ts";
import { setRoutedLines } from "../machine/routed.ts";
import { writeChips } from "../machine/write.ts";
import { fromWire, type HolderMethods, type SessionInfo, toWire } from "./protocol.ts";

/** The most line changes or messages in one request: a few hundred milliseconds of the holder's time. */
const MAX_STEPS = 10_000;

const chipId = v.custom<ChipId>((value) => typeof value === "string" && isChipId(value), "not a chip's id");
const u32 = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(0xffff_ffff));
const image = v.strictObject({ id: chipId, base64: v.pipe(v.string(), v.base64()) });
const step = v.strictObject({ gsi: u32, level: v.picklist([0, 1]) });

const message = v.strictObject({ address: u32, data: u32 });
const route = v.union([
  v.strictObject({ gsi: u32, chip: v.picklist(["pic1", "pic2", "ioapic"]), pin: u32 }),
  v.strictObject({ gsi: u32, msi: message }),
]);

const irqfdAction = v.variant("do", [
  v.strictObject({ do: v.literal("bind"), gsi: u32, resample: v.boolean() }),
  v.strictObject({
    do: v.literal("kick"),
    gsi: u32,
    count: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(MAX_STEPS)),
  }),
  v.strictObject({ do: v.literal("unbind"), gsi: u32 }),
  v.strictObject({ do: v.literal("list") }),
]);

const PARAMS = {
  describe: v.strictObject({}),
  readChips: v.strictObject({ ids: v.array(chipId) }),
  writeChips: v.strictObject({ images: v.array(image), expected: v.array(image) }),
  setIrqLines: v.strictObject({
    steps: v.pipe(v.array(step), v.maxLength(MAX_STEPS)),
    transient: v.boolean(),
  }),
  setRouting: v.strictObject({ routing: v.union([v.literal("default"), v.array(route)]) }),
  signalMsis: v.strictObject({
    messages: v.pipe(v.array(message), v.maxLength(MAX_STEPS)),
  }),
  irqfd: v.strictObject({ action: irqfdAction }),
  destroy: v.strictObject({}),
} as const;

/** The lines that one client holds high for the moment. */
export type TransientLines = Set<number>;

type Methods = {
  [M in keyof HolderMethods]: (params: unknown, transient: TransientLines) => HolderMethods[M]["result"];
};

/**
 * What a holder does for each request. Every method is synchronous, so requests are carried out one at a
 * time and never interleave.
 *
 * @param onDestroy called once the answer to `destroy` is on its way.
 */
export function holderMethods(machine: Machine, info: SessionInfo, onDestroy: () => void): Methods {
  return {
    describe(params) {
      check("describe", params);
      const { guest, routing } = machine;
      return { ...info, routing, ...(guest === undefined ? {} : { guest }) };
    },
    readChips(params) {
      const { ids } = check("readChips", params);
      return { images: readChips(machine, ids).map(toWire) };
    },
    writeChips(params) {
      const { images, expected } = check("writeChips", params);
      writeChips(machine, images.map(fromWire), expected.map(fromWire));
      return {};
    },
    setIrqLines(params, lines) {
      const { steps, transient } = check("setIrqLines", params);
      const statuses = setRoutedLines(machine, steps);
      for (const { gsi, level } of steps) {
        if (transient && level === 1) lines.add(gsi);
        else lines.delete(gsi);
      }
      return { statuses };
    },
    signalMsis(params) {
      const { messages } = check("signalMsis", params);
      return { statuses: signalMsis(machine, messages) };
    },
    setRouting(params) {
      machine.setRouting(check("setRouting", params).routing);
      return {};
    },
    irqfd(params) {
      return { irqfds: machine.irqfd(check("irqfd", params).action) };
    },
    destroy(params) {
      check("destroy", params);
      onDestroy();
      return {};
    },
  };
}

function check<M extends keyof typeof PARAMS>(method: M, params: unknown): v.InferOutput<(typeof PARAMS)[M]> {
  const result = v.safeParse(PARAMS[method], params ?? {});
  if (result.success) return result.output as v.InferOutput<(typeof PARAMS)[M]>;
  const [issue] = result.issues;
  throw new KvmIrqError("bad-input", `${method}: ${v.getDotPath(issue) ?? "params"}: ${issue.message}`);
}
