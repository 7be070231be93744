import type { HandledResult } from "../operations/handled.ts";
import type { InjectionResult } from "../operations/inject.ts";
import { some } from "./format.ts";
import { table } from "./table.ts";
import type { View } from "./view.ts";

/** What became of the rises of each GSI, a row each. */
export function renderInjection(
  results: readonly (InjectionResult | HandledResult)[],
  { paint, columns }: View,
): string {
  const unknown = results.some((result) => result.unknown !== undefined);
  const handled = results.some((result) => "handled" in result);
  return table(
    [
      { head: "GSI", align: "right" },
      { head: "RISES", align: "right" },
      { head: "DELIVERED", align: "right" },
      { head: "COALESCED", align: "right" },
      { head: "IGNORED", align: "right" },
      ...(unknown ? [{ head: "UNKNOWN", align: "right" as const }] : []),
      ...(handled ? [{ head: "HANDLED", align: "right" as const }] : []),
      { head: "LEVEL", align: "right" },
    ],
    results.map(({ gsi, count, delivered, coalesced, ignored, unknown: untold, level, ...rest }) => [
      String(gsi),
      String(count),
      some(delivered, paint.green),
      some(coalesced, paint.yellow),
      some(ignored, paint.red),
      ...(unknown ? [String(untold ?? 0)] : []),
      ...(handled ? [some((rest as HandledResult).handled, paint.green)] : []),
      level === 1 ? paint.bold("high") : "low",
    ]),
    { paint, columns },
  );
}
