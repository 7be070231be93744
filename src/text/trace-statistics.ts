import type { Tally } from "../lives/tally.ts";
import type { TraceSummary } from "../tracefs/event.ts";
import { durationText } from "./duration.ts";
import { count } from "./format.ts";
import { renderLatencies } from "./trace-latencies.ts";
import { renderUnfinished } from "./trace-unfinished.ts";
import type { View } from "./view.ts";

/**
 * What a trace comes to: latencies, what is unfinished, and one line over all.
 *
 * @param events how many there were.
 * @param summary `null` when the trace was cut off before its end.
 */
export function renderStatistics(
  tally: Tally,
  { events, summary }: { events: number; summary: TraceSummary | null },
  view: View,
): string {
  const { unfinished, whyPosted } = tally;
  const section = (title: string, body: string) =>
    body === "" ? "" : `${view.paint.bold.cyan(title)}\n${body}\n`;
  return (
    section("Latencies", renderLatencies(tally.statistics(), view)) +
    section("Unfinished", unfinished.length === 0 ? "" : renderUnfinished(unfinished, view)) +
    summaryLine(tally, events, summary) +
    (whyPosted === undefined ? "" : `posted: ${whyPosted}\n`)
  );
}

function summaryLine(tally: Tally, events: number, summary: TraceSummary | null): string {
  const outcomes = Object.entries(tally.outcomes)
    .filter(([, chains]) => chains > 0)
    .map(([outcome, chains]) => `${chains} ${outcome}`)
    .join(", ");
  const lasted = summary === null ? " (cut off before its end)" : ` in ${durationText(summary.duration)}`;
  const lost = summary === null || summary.lost === 0 ? "" : `, ${summary.lost} lost`;
  const interrupts = count(tally.count, "interrupt");
  return `${count(events, "event")}${lasted}${lost}; ${interrupts}${outcomes === "" ? "" : `: ${outcomes}`}\n`;
}
