import Table from "cli-table3";
import type { View } from "./view.ts";

/** A column: its heading, and whether it may go when the terminal is narrow (the highest number first). */
export interface Column {
  head: string;
  align?: "left" | "right";
  /** 0 stays whatever happens. */
  expendable?: number;
  /** Whether its text may go on in further lines when the terminal is narrow; one column of a table. */
  wraps?: true;
}

const GAP = 2;
/** A column that wraps keeps this width, however narrow the terminal: longer words would be cut. */
const LEAST_WRAPPED = 40;
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
  const widths = columns.map(({ head }, index) =>
    Math.max(head.length, ...rows.map((row) => (row[index] ?? "").replace(COLOUR, "").length)),
  );
  const kept = fitting(columns, widths, view.columns);
  const layout = new Table({
    head: kept.map((index) => view.paint.bold(columns[index]!.head)),
    colAligns: kept.map((index) => columns[index]!.align ?? "left"),
    ...wrapping(columns, kept, widths, view.columns),
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

/** {@link table}, a line each. */
export function tableLines(...args: Parameters<typeof table>): string[] {
  return table(...args)
    .trimEnd()
    .split("\n");
}

/** A paragraph of text, its words wrapped to the view. */
export function paragraph(text: string, view: View): string {
  const [, ...lines] = table([{ head: "", wraps: true }], [[text]], view).split("\n");
  return lines.join("\n");
}

/** What columns take, and the gaps between them. */
function total(widths: readonly number[]): number {
  return widths.reduce((sum, width) => sum + width + GAP, -GAP);
}

/** The columns that fit, by index, in order. One that wraps counts with the least it can have. */
function fitting(columns: readonly Column[], widths: readonly number[], room: number): number[] {
  let kept = columns.map((_, index) => index);
  const least = (index: number) =>
    columns[index]!.wraps ? Math.min(widths[index]!, LEAST_WRAPPED) : widths[index]!;
  while (total(kept.map(least)) > room) {
    const worst = Math.max(...kept.map((index) => columns[index]!.expendable ?? 0));
    if (worst === 0) break;
    kept = kept.filter((index) => (columns[index]!.expendable ?? 0) !== worst);
  }
  return kept;
}

/** How the layout is to wrap, when the columns are wider than the room. */
function wrapping(
  columns: readonly Column[],
  kept: readonly number[],
  widths: readonly number[],
  room: number,
): object {
  const over = total(kept.map((index) => widths[index]!)) - room;
  if (over <= 0 || !kept.some((index) => columns[index]!.wraps)) return {};
  return {
    wordWrap: true,
    wrapOnWordBoundary: true,
    colWidths: kept.map((index) =>
      columns[index]!.wraps ? Math.max(widths[index]! - over, LEAST_WRAPPED) : null,
    ),
  };
}

/** A section's heading: the chip's name, then its registers. */
export function heading(name: string, registers: readonly (readonly [string, string])[], view: View): string {
  return `${view.paint.bold.cyan(name)}  ${registers.map(([key, value]) => `${key} ${value}`).join("  ")}\n`;
}
