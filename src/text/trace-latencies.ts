import { type ChainStatistics, type Distribution, histogramText } from "../lives/statistics.ts";
import { durationText } from "./duration.ts";
import { crop } from "./fit.ts";
import { type Column, table } from "./table.ts";
import { placeColumns } from "./trace-place.ts";
import type { View } from "./view.ts";

const SPREAD_COLUMNS: readonly Column[] = [
  { head: "COUNT", align: "right" },
  { head: "MIN", align: "right", expendable: 1 },
  { head: "MEDIAN", align: "right" },
  { head: "P99", align: "right" },
  { head: "MAX", align: "right" },
  { head: "HISTOGRAM", expendable: 2 },
];

/** From step to step, how long it took; nothing when no interrupt got from one to another. */
export function renderLatencies(statistics: readonly ChainStatistics[], view: View): string {
  const place = placeColumns(statistics);
  const rows = statistics.flatMap((group) => {
    const begin = place.cells(group);
    const between = group.between.map(({ from, to, times }) => [...begin, from, to, ...spread(times)]);
    const whole = group.between.length > 1 && group.total !== null ? group.total : undefined;
    return whole === undefined ? between : [...between, [...begin, "begin", "end", ...spread(whole)]];
  });
  if (rows.length === 0) return "";
  return table([...place.columns, { head: "FROM" }, { head: "TO" }, ...SPREAD_COLUMNS], rows, view)
    .split("\n")
    .map((line) => crop(line, view.columns))
    .join("\n");
}

function spread({ count, min, median, p99, max, histogram }: Distribution): string[] {
  const low = durationText(histogram[0]!.from);
  const high = durationText(histogram.at(-1)!.from * 2);
  return [
    String(count),
    ...[min, median, p99, max].map(durationText),
    `${low} ${histogramText(histogram)} ${high}`,
  ];
}
