import { Memo } from "../abi/memo.ts";
import { printable } from "../abi/printable.ts";
import type { Args, TraceEvent } from "../tracefs/event.ts";
import { type FixedColumn, Rows } from "./rows.ts";
import type { View } from "./view.ts";

/** Below this, 11 days, which microsecond is nearest does not depend on how a division rounds. */
const MOST_EXACT = 1e15;

/** Three digits of each number below 1000. */
const DIGITS = Array.from({ length: 1000 }, (_, number) => String(number).padStart(3, "0"));

/** Seconds with microseconds, as other tools for the kernel's traces show time stamps. */
export function stamp(nanoseconds: number): string {
  const below = nanoseconds % 1000;
  // What toFixed makes of a half depends on the division; of the rest it makes the same, in ten times the time.
  const isPlain = below !== 500 && nanoseconds >= 0 && nanoseconds < MOST_EXACT;
  if (!isPlain) return (nanoseconds / 1e9).toFixed(6);
  const microseconds = (nanoseconds - below) / 1000 + (below > 500 ? 1 : 0);
  const fraction = microseconds % 1e6;
  const low = fraction % 1000;
  return `${(microseconds - fraction) / 1e6}.${DIGITS[(fraction - low) / 1000]!}${DIGITS[low]!}`;
}

/** The same in very many rows. */
const NAMES = new Memo<string, string>((name) => printable(name.trimEnd()));

/** @param detailOf what an event says, in few words. */
function columnsOf(detailOf: (event: TraceEvent) => string): readonly FixedColumn<TraceEvent>[] {
  const named = (event: string, detail: string) => `${event.padEnd(20)}  ${detail}`;
  // Both columns depend on the arguments alone, and events of the same fields mostly share them.
  const whats = new Memo<Args, string, TraceEvent>((event) =>
    printable(named(printable(event.event), detailOf(event))),
  );
  return [
    { head: "TIME (s)", width: 10, right: true, text: ({ time }) => stamp(time) },
    { head: "CPU", width: 3, right: true, from: 80, text: ({ cpu }) => String(cpu) },
    { head: "PROCESS", width: 7, right: true, from: 100, text: ({ process }) => String(process ?? "-") },
    { head: "THREAD", width: 22, from: 124, text: ({ comm, pid }) => `${NAMES.of(comm, comm)}-${pid}` },
    {
      head: named("EVENT", "DETAIL"),
      width: 0,
      text: (event) => whats.of(event.args, event) + contextOf(event),
    },
  ];
}

function contextOf({ context }: TraceEvent): string {
  return context === undefined ? "" : ` (${context})`;
}

/** The table of events, which come one by one. @param detailOf what an event says, in few words. */
export function eventRows(view: View, detailOf: (event: TraceEvent) => string): Rows<TraceEvent> {
  return new Rows(columnsOf(detailOf), view);
}
