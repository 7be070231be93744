import { durationText } from "../trace/duration.ts";
import type { TraceSummary } from "../trace/event.ts";
import type { Chain } from "../trace/x86/chain.ts";
import { statisticsOf } from "../trace/x86/statistics.ts";
import { count } from "./format.ts";
import { renderLatencies } from "./trace-latencies.ts";
import { renderUnfinished } from "./trace-unfinished.ts";
import type { View } from "./view.ts";

/** How many interrupts came to which end. */
export function outcomesOf(chains: readonly Chain[]): Record<Chain["outcome"], number> {
  const outcomes = { complete: 0, coalesced: 0, posted: 0, unfinished: 0 };
  for (const { outcome } of chains) outcomes[outcome]++;
  return outcomes;
}

/**
 * What a trace comes to: latencies, what is unfinished, and one line over all.
 *
 * @param events how many there were.
 * @param summary `null` when the trace was cut off before its end.
 */
export function renderStatistics(
  chains: readonly Chain[],
  { events, summary }: { events: number; summary: TraceSummary | null },
  view: View,
): string {
  const unfinished = chains.filter(({ outcome }) => outcome === "unfinished");
  const section = (title: string, body: string) =>
    body === "" ? "" : `${view.paint.bold.cyan(title)}\n${body}\n`;
  const posted = chains.find(({ outcome }) => outcome === "posted");
  return (
    section("Latencies", renderLatencies(statisticsOf(chains), view)) +
    section("Unfinished", unfinished.length === 0 ? "" : renderUnfinished(unfinished, view)) +
    summaryLine(chains, events, summary) +
    (posted === undefined ? "" : `posted: ${posted.stopped!.why}\n`)
  );
}

function summaryLine(chains: readonly Chain[], events: number, summary: TraceSummary | null): string {
  const outcomes = Object.entries(outcomesOf(chains))
    .filter(([, chains]) => chains > 0)
    .map(([outcome, chains]) => `${chains} ${outcome}`)
    .join(", ");
  const lasted = summary === null ? " (cut off before its end)" : ` in ${durationText(summary.duration)}`;
  const lost = summary === null || summary.lost === 0 ? "" : `, ${summary.lost} lost`;
  const interrupts = count(chains.length, "interrupt");
  return `${count(events, "event")}${lasted}${lost}; ${interrupts}${outcomes === "" ? "" : `: ${outcomes}`}\n`;
}
