import { printable } from "../abi/printable.ts";
import type { Chips } from "../arch/arch.ts";
import { ioapicPanel } from "../arch/x86/ioapic/watch.ts";
import { lapicPanel, lapicSummary } from "../arch/x86/lapic/watch.ts";
import { picPanel, picSummary } from "../arch/x86/pic/watch.ts";
import type { Observation } from "../rules/observe.ts";
import { notSeen } from "../vm/snapshot.ts";
import { crop, scrollTo, width } from "./fit.ts";
import { count, time } from "./format.ts";
import type { View } from "./view.ts";
import { type Marks, marksOf } from "./watch-marks.ts";
import { findingLine } from "./watch-news.ts";

/** What the live view can show, in the order of its keys. */
export const PANELS = ["pic1", "pic2", "ioapic", "lapic", "all"] as const;
export type Panel = (typeof PANELS)[number];

/** What watching takes: a share of one CPU (0.01 is 1 %), and the longest stop of a thread a reading. */
export interface Cost {
  cpu: number;
  stops?: { threads: number; longestNs: number };
}

export interface WatchFrame {
  label: string;
  observation: Observation;
  panel: Panel;
  intervalMs: number;
  paused: boolean;
  cost: Cost;
  /** What happened of late, newest first, a line each. */
  recent: readonly string[];
  /** The line at the bottom: keys, or what one of them has done. */
  footer: string;
  /** The first line of the body that is wanted. */
  top: number;
}

/** What the count of edges leaves out, on every picture that shows it. */
const EDGES_NOTE = "EDGES is a least count: coalesced or quickly served edges leave no trace";

/** What the label keeps of the title, in columns: enough for a process's number. */
const LEAST_LABEL = 12;

/** More findings than these are reached by scrolling when the chips need the room. */
const ROOM_FOR_FINDINGS = 5;

/**
 * One picture of the live view.
 *
 * @param rows rows of the terminal; each line is cut to `view.columns`, so nothing wraps.
 * @returns the lines, no more than there are rows, and the `top` that scrolling really came to.
 */
export function renderWatch(frame: WatchFrame, view: View, rows: number): { lines: string[]; top: number } {
  const heading = [titleLine(frame, view), tabsLine(frame, view)];
  const room = Math.max(0, rows - heading.length - 1);
  const findings = findingLines(frame.observation, view);
  const marks = marksOf(frame.observation, view);
  const reserved = Math.min(findings.length, ROOM_FOR_FINDINGS);
  const chips = [...panelLines(frame, room - reserved - 1, marks), view.paint.dim(EDGES_NOTE)];
  const body = [...chips, ...findings];
  const left = room - body.length;
  if (left > 1 && frame.recent.length > 0) {
    body.push(view.paint.bold("RECENT"), ...frame.recent.slice(0, left - 1));
  }
  const { lines, top } = scrollTo(body, frame.top, room);
  const filled = [...lines, ...Array<string>(Math.max(0, Math.min(room, 1e4) - lines.length)).fill("")];
  return {
    lines: [...heading, ...filled, view.paint.dim(frame.footer)]
      .slice(0, Math.max(rows, 0))
      .map((line) => crop(line, view.columns)),
    top,
  };
}

/**
 * The state once: for a target that does not change, or no longer.
 *
 * @param rows what the chips may take; pins of the IOAPIC are left out and counted when that is little.
 */
export function renderStill(
  { label, observation }: Pick<WatchFrame, "label" | "observation">,
  view: View,
  rows = Number.POSITIVE_INFINITY,
): string {
  const marks = marksOf(observation, view);
  const findings = findingLines(observation, view);
  const room = rows - findings.length - 1;
  const lines = [
    view.paint.bold(printable(label)),
    ...panelLines({ observation, panel: "all" }, room, marks),
    ...findings,
  ];
  return `${lines.join("\n")}\n`;
}

/** What watching takes, in words: `0.8 % CPU, stops 3 threads up to 412 us`. */
export function costText({ cpu, stops }: Cost): string {
  const share = `${(cpu * 100).toFixed(1)} % CPU`;
  if (stops === undefined) return share;
  return `${share}, stops ${count(stops.threads, "thread")} up to ${time(stops.longestNs / 1e6)}`;
}

/** Which VM, how far and how often it was read, and what that takes. The label gives way to the rest. */
function titleLine({ label, observation, intervalMs, paused, cost }: WatchFrame, view: View): string {
  const pace = paused ? view.paint.black.bgYellow(" PAUSED ") : `every ${time(intervalMs)}`;
  const rest = `  reading ${observation.reading}  ${pace}  ${costText(cost)}`;
  const room = Math.max(LEAST_LABEL, view.columns - width(rest));
  return `${view.paint.bold(crop(printable(label), room))}${rest}`;
}

function tabsLine({ panel, observation }: WatchFrame, { paint }: View): string {
  const tabs = PANELS.map((name, at) =>
    name === panel ? paint.bold(`[${at + 1} ${name}]`) : ` ${at + 1} ${name} `,
  );
  const { length } = observation.findings;
  const found = length === 0 ? paint.green("no findings") : paint.yellow(count(length, "finding"));
  return `${tabs.join("")}  ${found}`;
}

function findingLines({ findings, appeared }: Observation, view: View): string[] {
  if (findings.length === 0) return [];
  const isNew = (finding: (typeof findings)[number]) => appeared.includes(finding);
  return [
    view.paint.bold("FINDINGS"),
    ...findings.map((finding) => `${isNew(finding) ? "+" : " "} ${findingLine(finding, view)}`),
  ];
}

function panelLines(frame: Pick<WatchFrame, "observation" | "panel">, room: number, marks: Marks): string[] {
  const emulated = notSeen(frame.observation.snapshot);
  return [...chipLines(frame, room, marks), ...(emulated === undefined ? [] : [emulated])];
}

function chipLines(
  { observation, panel }: Pick<WatchFrame, "observation" | "panel">,
  room: number,
  marks: Marks,
): string[] {
  const { chips } = observation.snapshot;
  switch (panel) {
    case "pic1":
    case "pic2":
      return chips[panel] === undefined ? [notRead(panel)] : picPanel(panel, chips[panel], marks);
    case "ioapic":
      return chips.ioapic === undefined ? [notRead(panel)] : ioapicPanel(chips.ioapic, room, marks);
    case "lapic":
      return chips.lapic === undefined ? [notRead(panel)] : lapicPanel(chips.lapic, marks);
    case "all":
      return allChips(chips, room, marks);
  }
}

function notRead(panel: Panel): string {
  return `${panel} is not read from this target`;
}

/** Every chip: the PICs and local APICs a row each, and the IOAPIC in what is left. */
function allChips({ pic1, pic2, ioapic, lapic }: Chips, room: number, marks: Marks): string[] {
  const pics = [
    ...(pic1 === undefined ? [] : [["pic1", pic1] as const]),
    ...(pic2 === undefined ? [] : [["pic2", pic2] as const]),
  ];
  const above = pics.length === 0 ? [] : picSummary(pics, marks);
  const below = lapic === undefined || lapic.length === 0 ? [] : ["", ...lapicSummary(lapic, marks)];
  const between = ioapic === undefined ? [] : ioapicPanel(ioapic, room - above.length - below.length, marks);
  return [...above, ...between, ...below];
}
