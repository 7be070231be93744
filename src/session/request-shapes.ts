import * as v from "valibot";
import {
  chipId,
  count,
  empty,
  images,
  integer,
  jsonrpc,
  MAX_IMAGES,
  message,
  routing,
  u32,
  word,
} from "./shapes.ts";

/** The most line changes or MSIs in one request: a few hundred milliseconds of the holder's time. */
const MAX_STEPS = 10_000;

export const REQUEST = v.strictObject({
  jsonrpc,
  id: v.union([integer, word]),
  method: word,
  params: v.exactOptional(v.unknown(), {}),
});

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
