import type { Difference } from "../diagnose/diff.ts";
import { hex, vectors } from "./format.ts";
import type { View } from "./view.ts";

/** Differences, a line each: `ioapic.redirtbl[4].mask: true -> false`. */
export function renderDifferences(differences: readonly Difference[], { paint }: View): string {
  return differences
    .map(({ path, from, to }) => `${path}: ${paint.red(word(from))} -> ${paint.green(word(to))}\n`)
    .join("");
}

function word(value: unknown): string {
  if (value === undefined) return "absent";
  if (typeof value === "number") return hex(value);
  if (Array.isArray(value)) return vectors(value as number[]);
  return typeof value === "string" ? value : JSON.stringify(value);
}
