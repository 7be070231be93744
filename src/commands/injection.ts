import type { HandledResult } from "../target/handled.ts";
import type { InjectionResult } from "../target/inject.ts";
import type { Outcome } from "./command.ts";

/** What `pulse`, `hold` and `release` give back. */
export function injectionOutcome(results: (InjectionResult | HandledResult)[]): Outcome {
  return {
    json: { results },
    text: async (view) => (await import("../render/injection.ts")).renderInjection(results, view),
  };
}
