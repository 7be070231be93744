import { setTimeout as sleep } from "node:timers/promises";
import type { Source } from "../vm/source.ts";

/** A signal for the end of the target too: nothing is worth waiting for then, and the next call says why. */
export function untilOver(source: Source, signal: AbortSignal): AbortSignal {
  if (source.ended === undefined) return signal;
  const ended = new AbortController();
  void source.ended().then(() => ended.abort());
  return AbortSignal.any([signal, ended.signal]);
}

/** Waits, but not a moment longer than the signal. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (ms <= 0 || signal.aborted) return;
  await sleep(ms, undefined, { signal }).catch(() => {});
}
