import { printable } from "../abi/printable.ts";
import { type FixedColumn, Rows } from "../text/rows.ts";
import type { View } from "../text/view.ts";
import type { TraceEvent } from "../trace/event.ts";
import { detailOf } from "../trace/x86/detail.ts";

/** Seconds with microseconds, as other tools for the kernel's traces show time stamps. */
export function stamp(nanoseconds: number): string {
  return (nanoseconds / 1e9).toFixed(6);
}

const COLUMNS: readonly FixedColumn<TraceEvent>[] = [
  { head: "TIME (s)", width: 10, right: true, text: ({ time }) => stamp(time) },
  { head: "CPU", width: 3, right: true, from: 80, text: ({ cpu }) => String(cpu) },
  { head: "PROCESS", width: 7, right: true, from: 100, text: ({ process }) => String(process ?? "-") },
  { head: "THREAD", width: 22, from: 124, text: ({ comm, pid }) => `${printable(comm.trimEnd())}-${pid}` },
  { head: "EVENT", width: 20, text: ({ event }) => printable(event) },
  { head: "DETAIL", width: 0, text: (event) => printable(detailOf(event) + contextOf(event)) },
];

function contextOf({ context }: TraceEvent): string {
  return context === undefined ? "" : ` (${context})`;
}

/** The table of events, which come one by one. */
export function eventRows(view: View): Rows<TraceEvent> {
  return new Rows(COLUMNS, view);
}
