import type { Context, Outcome } from "../../cli/command.ts";
import type { HandledResult } from "../../operations/handled.ts";
import type { InjectionResult } from "../../operations/inject.ts";
import { count as counted } from "../../text/format.ts";

/** Trains shorter than this are over before anyone could read their progress. */
const PROGRESS_AFTER_MS = 300;

/**
 * Shows how far a train has come.
 *
 * @param noun what it is a train of: "pulse".
 * @returns to be called with how many are done.
 */
export function trainProgress(context: Context, count: number, noun: string): (done: number) => void {
  const start = performance.now();
  return (done) => {
    if (performance.now() - start < PROGRESS_AFTER_MS) return;
    context.progress(`${done} of ${counted(count, noun)} (${Math.floor((100 * done) / count)} %)`);
  };
}

/** What `pulse`, `hold` and `release` give back. */
export function injectionOutcome(results: (InjectionResult | HandledResult)[]): Outcome {
  return {
    json: { results },
    text: async (view) => (await import("../../text/injection.ts")).renderInjection(results, view),
  };
}
