import { KvmIrqError } from "../abi/error.ts";
import type { Source } from "../vm/source.ts";
import { countStatus, fall, type InjectionResult, type PulseTrain, rise, setLines } from "./inject.ts";
import { pause, untilOver } from "./wait.ts";

/** What became of the pulses of one GSI into a guest that takes interrupts. */
export type HandledResult = InjectionResult & {
  /** Pulses after which a handler of the guest ran in time. */
  handled: number;
};

/**
 * Pulses lines one at a time, and waits after each until a handler of the guest has run, whichever vector's.
 * However it ends, the lines are low.
 *
 * @param timeoutMs how long a handler may take; what comes later is not counted.
 * @param signal ends the train early; what was done until then is returned.
 * @throws KvmIrqError `unsupported` when the target has no guest of ours.
 */
export async function pulseHandled(
  source: Source,
  { gsis, count, intervalMs, widthMs }: PulseTrain,
  timeoutMs: number,
  signal: AbortSignal,
  onProgress: (rounds: number) => void = () => {},
): Promise<HandledResult[]> {
  await handledBy(source);
  const results = gsis.map(
    (gsi): HandledResult => ({ gsi, count: 0, delivered: 0, coalesced: 0, ignored: 0, handled: 0, level: 0 }),
  );
  const over = untilOver(source, signal);
  const start = performance.now();
  for (let done = 0; done < count && !signal.aborted; ) {
    for (const result of results) await pulseOnce(source, result, widthMs, timeoutMs, signal);
    onProgress(++done);
    if (done < count) await pause(start + done * intervalMs - performance.now(), over);
  }
  return results;
}

async function pulseOnce(
  source: Source,
  result: HandledResult,
  widthMs: number,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<void> {
  const before = await handledBy(source);
  const { gsi } = result;
  const deadline = performance.now() + timeoutMs;
  const together = widthMs === 0 ? [rise(gsi), fall(gsi)] : [rise(gsi)];
  const [status] = await setLines(source, together, true);
  await pause(widthMs, signal);
  if (widthMs > 0) await setLines(source, [fall(gsi)]);
  if (status !== undefined) countStatus(result, status);
  while (!signal.aborted) {
    if ((await handledBy(source)) > before) {
      result.handled++;
      return;
    }
    if (performance.now() > deadline) return;
    await pause(POLL_MS, signal);
  }
}

/** Between two looks at the guest's counts; a handler that runs at once is seen at the first. */
const POLL_MS = 1;

/** @throws KvmIrqError `unsupported` when there is no guest, or none that runs any more. */
async function handledBy(source: Source): Promise<number> {
  const { handled, running, ended } = await source.perform("handled", {});
  if (running) return handled;
  throw new KvmIrqError("unsupported", `the guest of ${source.identity.label} has stopped: ${ended}`, {
    hint: "recreate the session with `kvm-irq create --replace`",
  });
}
