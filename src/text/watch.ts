import { printable } from "../abi/printable.ts";
import type { Marks, Panels } from "../arch/arch.ts";
import type { Observation } from "../rules/observe.ts";
import { notSeen } from "../vm/snapshot.ts";
import { time } from "./duration.ts";
import { crop, scrollTo, width } from "./fit.ts";
import { count } from "./format.ts";
import type { View } from "./view.ts";
import { marksOf } from "./watch-marks.ts";
import { findingLine } from "./watch-news.ts";

/** What watching takes: a share of one CPU (0.01 is 1 %), and the longest stop of a thread a reading. */
export interface Cost {
  cpu: number;
  stops?: { threads: number; longestNs: number };
}

export interface WatchFrame {
  label: string;
  observation: Observation;
  /** The tab that is shown, and how chips are shown. */
  panel: string;
  panels: Panels;
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
  { label, observation, panels }: Pick<WatchFrame, "label" | "observation" | "panels">,
  view: View,
  rows = Number.POSITIVE_INFINITY,
): string {
  const marks = marksOf(observation, view);
  const findings = findingLines(observation, view);
  const room = rows - findings.length - 1;
  const lines = [
    view.paint.bold(printable(label)),
    ...panelLines({ observation, panel: "all", panels }, room, marks),
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

function tabsLine({ panel, panels, observation }: WatchFrame, { paint }: View): string {
  const tabs = panels.tabs.map((name, at) =>
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

function panelLines(
  frame: Pick<WatchFrame, "observation" | "panel" | "panels">,
  room: number,
  marks: Marks,
): string[] {
  const emulated = notSeen(frame.observation.snapshot);
  return [...chipLines(frame, room, marks), ...(emulated === undefined ? [] : [emulated])];
}

function chipLines(
  { observation, panel, panels }: Pick<WatchFrame, "observation" | "panel" | "panels">,
  room: number,
  marks: Marks,
): string[] {
  const lines = panels.live(panel, observation.snapshot.chips, room, marks);
  return lines ?? [`${panel} is not read from this target`];
}
