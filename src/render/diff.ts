import type { Difference } from "../diagnose/diff.ts";
import { value } from "./format.ts";
import type { View } from "./view.ts";

/** Differences, a line each: `ioapic.redirtbl[4].mask: true -> false`. */
export function renderDifferences(differences: readonly Difference[], { paint }: View): string {
  return differences
    .map(({ path, from, to }) => `${path}: ${paint.red(value(from))} -> ${paint.green(value(to))}\n`)
    .join("");
}
