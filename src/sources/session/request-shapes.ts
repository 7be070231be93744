import type { HolderMethods } from "./protocol.ts";
import {
  chipIds,
  either,
  empty,
  exactly,
  flag,
  type Guard,
  images,
  integer,
  listOf,
  message,
  only,
  routing,
  u32,
  upTo,
  version,
  word,
} from "./shapes.ts";

/** The most line changes or MSIs in one request: a few hundred milliseconds of the holder's time. */
const MAX_STEPS = 10_000;

/** What each method takes. */
const PARAMS: Record<keyof HolderMethods, Guard> = {
  describe: empty,
  peek: empty,
  readChips: only({ ids: chipIds }),
  writeChips: only({ images, expected: images }),
  setIrqLines: only({
    steps: listOf(only({ gsi: u32, level: exactly(0, 1) }), MAX_STEPS),
    transient: flag,
  }),
  setRouting: only({ routing }),
  signalMsis: only({ messages: listOf(message, MAX_STEPS) }),
  irqfd: only({
    action: either(
      only({ do: exactly("bind"), gsi: u32, resample: flag }),
      only({ do: exactly("kick"), gsi: u32, count: (value) => value !== 0 && upTo(MAX_STEPS)(value) }),
      only({ do: exactly("unbind"), gsi: u32 }),
      only({ do: exactly("list") }),
    ),
  }),
  destroy: empty,
};

/** Whether a value is what a method takes. */
export function isParams<M extends keyof HolderMethods>(
  method: M,
  value: unknown,
): value is HolderMethods[M]["params"] {
  return PARAMS[method](value);
}

/** A request of JSON-RPC 2.0; one without an id would have no answer, and is none here. */
export interface Request {
  id: number | string;
  method: string;
  params?: unknown;
}

const request = only({ jsonrpc: version, id: either(integer, word), method: word }, { params: () => true });

export function isRequest(frame: unknown): frame is Request {
  return request(frame);
}
