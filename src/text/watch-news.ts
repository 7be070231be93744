import { archNamed } from "../arch/arches.ts";
import type { Finding, Severity } from "../rules/finding.ts";
import type { Observation } from "../rules/observe.ts";
import { renderDifferences } from "./diff.ts";
import type { View } from "./view.ts";

/** What is new in a reading, a line each: lines that rose, fields that changed, findings that came or went. */
export function newsLines(
  {
    snapshot,
    risen,
    changes,
    appeared,
    gone,
  }: Pick<Observation, "snapshot" | "risen" | "changes" | "appeared" | "gone">,
  view: View,
): string[] {
  const changed = renderDifferences(changes, view, archNamed(snapshot.host.arch)).split("\n").slice(0, -1);
  return [
    ...risen.map((gsi) => view.paint.bold(`GSI ${gsi} rose`)),
    ...changed,
    ...appeared.map((finding) => `+ ${findingLine(finding, view)}`),
    ...gone.map((finding) => `- ${findingLine(finding, view)}`),
  ];
}

/** A finding on one line: how grave, its code, what is the matter. */
export function findingLine({ severity, code, sentence }: Finding, view: View): string {
  return `${paintSeverity(severity, view)} ${code}: ${sentence}`;
}

/** A severity in its colour. */
export function paintSeverity(severity: Severity, { paint }: View): string {
  const colour = severity === "error" ? paint.red : severity === "warning" ? paint.yellow : paint.cyan;
  return colour(severity);
}

/** The time of day of a reading, local, to the millisecond. */
export function clock(capturedAt: string): string {
  const at = new Date(capturedAt);
  const two = (n: number) => String(n).padStart(2, "0");
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}
