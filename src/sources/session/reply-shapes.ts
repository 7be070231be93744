import { EXIT_STATUS } from "../../abi/error.ts";
import { HOST_ARCH } from "../../arch/arches.ts";
import { PRESETS } from "../../arch/x86/presets.ts";
import { GUEST_PROGRAMS } from "../../vm/guest.ts";
import { IRQCHIPS } from "../../vm/machine.ts";
import type { HolderMethods } from "./protocol.ts";
import {
  count,
  either,
  empty,
  exactly,
  flag,
  type Guard,
  images,
  integer,
  keyOf,
  listOf,
  object,
  only,
  routing,
  text,
  u32,
  upTo,
  version,
} from "./shapes.ts";

const guest = object(
  {
    program: keyOf(GUEST_PROGRAMS),
    running: flag,
    handled: listOf(object({ vector: upTo(255), count })),
  },
  { ended: text },
);

const info = object(
  {
    name: text,
    protocol: integer,
    backend: exactly("kvm", "model"),
    pid: count,
    vcpus: upTo(HOST_ARCH.maxVcpus),
    created_at: (value) => !Number.isNaN(Date.parse(String(value))),
    host: object({ kernel: text, arch: exactly(HOST_ARCH.name) }, { kvm_api_version: integer }),
    irqchip: keyOf(IRQCHIPS),
    routing,
  },
  { preset: keyOf(PRESETS), from: text, ttl_ms: Number.isFinite, guest },
);
const statuses = object({ statuses: listOf(either(integer, exactly(null))) });
const irqfd = object({ gsi: u32, resample: flag, kicks: count }, { resampled: count });

/** What each method gives. */
const RESULTS: Record<keyof HolderMethods, Guard> = {
  describe: info,
  peek: info,
  readChips: object({ images }),
  writeChips: empty,
  setIrqLines: statuses,
  setRouting: empty,
  signalMsis: statuses,
  irqfd: object({ irqfds: listOf(irqfd) }),
  destroy: empty,
};

/** Whether a value is what a method gives. */
export function isResult<M extends keyof HolderMethods>(
  method: M,
  value: unknown,
): value is HolderMethods[M]["result"] {
  return RESULTS[method](value);
}

/** An answer of JSON-RPC 2.0. The id is null where the request's could not be read. */
export type Reply =
  | { id: number; result: unknown }
  | { id: number | null; error: { code: number; message: string; data?: unknown } };

const success = only({ jsonrpc: version, id: integer, result: () => true });
const failure = only({
  jsonrpc: version,
  id: either(integer, exactly(null)),
  error: object({ code: integer, message: text }),
});

/** Whether a message is an answer: a result or an error, not both. */
export function isReply(frame: unknown): frame is Reply {
  return success(frame) || failure(frame);
}

const refusal = object({ code: keyOf(EXIT_STATUS), message: text }, { hint: text });

/** Whether an error's data is a {@link KvmIrqError} as JSON. */
export function isRefusal(data: unknown): data is object {
  return refusal(data);
}
