import { stripVTControlCharacters } from "node:util";
import sliceAnsi from "slice-ansi";

/** How many columns a line takes on a terminal, its colours left out. */
export function width(line: string): number {
  return stripVTControlCharacters(line).length;
}

/** Cuts a line to so many columns; an ellipsis says where it was cut. */
export function crop(line: string, columns: number): string {
  // A colour takes letters and no columns: what has few enough letters fits, and most lines do.
  if (line.length <= columns || width(line) <= columns) return line;
  return columns < 1 ? "" : `${sliceAnsi(line, 0, columns - 1)}…`;
}

/** Cuts or fills up a line to exactly so many columns. */
export function pad(line: string, columns: number): string {
  const cut = crop(line, columns);
  return cut + " ".repeat(Math.max(0, columns - width(cut)));
}

/** Two blocks of lines side by side, each half as wide as the room. */
export function sideBySide(left: readonly string[], right: readonly string[], columns: number): string[] {
  const half = Math.floor((columns - 2) / 2);
  return left.map((line, row) => `${pad(line, half)}  ${crop(right[row] ?? "", half)}`.trimEnd());
}

/** The part of a body of lines that fits, and how far it can be scrolled. */
export interface Window {
  lines: string[];
  /** The first line that is shown. */
  top: number;
}

/**
 * Cuts a body of lines to so many rows. Where lines are left out below, the last row says how many.
 *
 * @param top the first line that is wanted; less is taken when the body ends before.
 */
export function scrollTo(body: readonly string[], top: number, rows: number): Window {
  const first = Math.max(0, Math.min(top, body.length - rows));
  const rest = body.length - first - rows;
  const lines = body.slice(first, first + rows);
  if (rest > 0 && rows > 0) lines[rows - 1] = `… ${rest + 1} more lines`;
  return { lines, top: first };
}
