import { beginOf } from "../lives/chain.ts";
import type { Unfinished } from "../lives/tally.ts";
import { width } from "./fit.ts";
import { type Column, table } from "./table.ts";
import { stamp } from "./trace.ts";
import { wrap } from "./trace-chains.ts";
import { placeColumns } from "./trace-place.ts";
import type { View } from "./view.ts";

/**
 * Interrupts that never came to their end, those that stopped alike together; where the terminal is too
 * narrow, the reasons stand below.
 */
export function renderUnfinished(unfinished: readonly Unfinished[], view: View): string {
  const place = placeColumns(unfinished.map(({ first }) => first));
  const columns: Column[] = [
    ...place.columns,
    { head: "COUNT", align: "right" },
    { head: "FIRST (s)", align: "right", expendable: 1 },
    { head: "STOPPED AT" },
  ];
  const rows = unfinished.map(({ first, count }) => {
    const { at, why } = first.stopped!;
    const cells = [...place.cells(first), String(count), stamp(beginOf(first)), view.paint.red(at)];
    return { cells, why };
  });
  const wide = table(
    [...columns, { head: "WHY" }],
    rows.map(({ cells, why }) => [...cells, why]),
    { ...view, columns: Number.POSITIVE_INFINITY },
  );
  if (wide.split("\n").every((line) => width(line) <= view.columns)) return wide;
  const cells = rows.map((row) => row.cells);
  const [heading, ...lines] = table(columns, cells, view).trimEnd().split("\n");
  const below = lines.map((line, index) => `${line}\n${wrap(rows[index]!.why, view.columns)}`);
  return `${[heading, ...below].join("\n")}\n`;
}
