import type { MsiMessage } from "../vm/routing.ts";
import type { Source } from "../vm/source.ts";
import { countStatus, type StatusCounts } from "./inject.ts";
import { pause, untilOver } from "./wait.ts";

/** What became of one message, sent so many times. */
export type MsiResult = MsiMessage & StatusCounts;

export interface MsiTrain {
  message: MsiMessage;
  /** How often it is sent. */
  count: number;
  /** From one message to the next, in milliseconds. */
  intervalMs: number;
}

/** How many messages go in one request when nothing has to be waited for: about 10 ms of work. */
const BATCH = 1000;

/**
 * Sends a message, so many times.
 *
 * @param signal ends the train early; what was done until then is returned.
 * @param onProgress called with the number of messages sent.
 */
export async function sendMsi(
  source: Source,
  { message, count, intervalMs }: MsiTrain,
  signal: AbortSignal,
  onProgress: (messages: number) => void = () => {},
): Promise<MsiResult> {
  const result: MsiResult = { ...message, count: 0, delivered: 0, coalesced: 0, ignored: 0 };
  const over = untilOver(source, signal);
  const start = performance.now();
  while (result.count < count && !signal.aborted) {
    const size = intervalMs === 0 ? Math.min(BATCH, count - result.count) : 1;
    const messages = new Array<MsiMessage>(size).fill(message);
    const { statuses } = await source.perform("signalMsis", { messages });
    for (const status of statuses) countStatus(result, status);
    onProgress(result.count);
    if (result.count < count) await pause(start + result.count * intervalMs - performance.now(), over);
  }
  return result;
}
