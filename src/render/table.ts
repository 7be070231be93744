import Table from "cli-table3";
import type { View } from "./view.ts";

/** A column: its heading, and whether it may go when the terminal is narrow (the highest number first). */
export interface Column {
  head: string;
  align?: "left" | "right";
  /** 0 stays whatever happens. */
  expendable?: number;
}

const GAP = 2;
const NO_BORDERS = Object.fromEntries(
  [
    "top",
    "top-mid",
    "top-left",
    "top-right",
    "bottom",
    "bottom-mid",
    "bottom-left",
    "bottom-right",
    "left",
    "left-mid",
    "mid",
    "mid-mid",
    "right",
    "right-mid",
  ].map((part) => [part, ""]),
);
// biome-ignore lint/suspicious/noControlCharactersInRegex: that is what colours are made of
const COLOUR = /\u001b\[[0-9;]*m/g;

/**
 * Lays out a table without borders: columns in line, so that `awk` and `grep` can take it, and columns
 * that may go left out until it fits the view.
 */
export function table(columns: readonly Column[], rows: readonly string[][], view: View): string {
  const kept = fitting(columns, rows, view.columns);
  const layout = new Table({
    head: kept.map((index) => view.paint.bold(columns[index]!.head)),
    colAligns: kept.map((index) => columns[index]!.align ?? "left"),
    chars: { ...NO_BORDERS, middle: " ".repeat(GAP) },
    style: { head: [], border: [], "padding-left": 0, "padding-right": 0, compact: true },
  });
  for (const row of rows) layout.push(kept.map((index) => row[index] ?? ""));
  return `${layout
    .toString()
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n")}\n`;
}

/** The columns that fit, by index, in order. */
function fitting(columns: readonly Column[], rows: readonly string[][], room: number): number[] {
  const widths = columns.map(({ head }, index) =>
    Math.max(head.length, ...rows.map((row) => (row[index] ?? "").replace(COLOUR, "").length)),
  );
  let kept = columns.map((_, index) => index);
  const width = () => kept.reduce((sum, index) => sum + widths[index]! + GAP, -GAP);
  while (width() > room) {
    const worst = Math.max(...kept.map((index) => columns[index]!.expendable ?? 0));
    if (worst === 0) break;
    kept = kept.filter((index) => (columns[index]!.expendable ?? 0) !== worst);
  }
  return kept;
}

/** A section's heading: the chip's name, then its registers. */
export function heading(name: string, registers: readonly (readonly [string, string])[], view: View): string {
  return `${view.paint.bold.cyan(name)}  ${registers.map(([key, value]) => `${key} ${value}`).join("  ")}\n`;
}
