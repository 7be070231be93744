import { decisive, type Explanation, type Way } from "../rules/explanation.ts";
import type { Finding } from "../rules/finding.ts";
import { isGrave } from "../rules/observe.ts";
import { time } from "./duration.ts";
import {
  arrivalOf,
  type Looks,
  paintVerdict,
  renderAssumptions,
  renderLooks,
  type Watched,
} from "./explain.ts";
import { inOrderOfTelling } from "./explain-sentence.ts";
import { paragraph, table } from "./table.ts";
import type { View } from "./view.ts";
import { newsLines, paintSeverity } from "./watch-news.ts";

export interface Overview extends Looks {
  gsis: readonly Explanation[];
  findings: readonly Finding[];
  watched: Watched | undefined;
  /** What can't be shown, and why. */
  unseen?: string | undefined;
}

/** Every GSI a row, what moved between two readings, and what is wrong. */
export function renderOverview({ gsis, findings, watched, unseen, ...looks }: Overview, view: View): string {
  const rows = gsis.map((explanation) => [
    String(explanation.gsi),
    paintVerdict(explanation.verdict, view),
    wayOut(explanation),
  ]);
  const columns = [
    { head: "GSI", align: "right" as const },
    { head: "VERDICT" },
    { head: "WHERE IT WOULD GO, OR WHAT STOPS IT", wraps: true as const },
  ];
  return [
    rows.length > 0 ? table(columns, rows, view) : unseen ? "" : "no GSI is routed anywhere\n",
    unseen === undefined ? "" : paragraph(unseen, view),
    watched === undefined ? "" : renderMoved(watched, view),
    renderAssumptions(gsis[0]?.assumptions ?? [], view),
    findings.some(isGrave) ? renderLooks(looks, view) : "",
    renderFindings(findings, view),
  ]
    .filter((part) => part !== "")
    .join("\n");
}

const NOT_KNOWN = "where it goes is not known; ";

/** Of the ways that give a GSI its verdict: where they lead, and until when that is held, or what stops them. */
function wayOut({ verdict, ways, sentence }: Explanation): string {
  const said = sentence.replace(/^.*?: /, "");
  if (said.startsWith(NOT_KNOWN)) return said.slice(NOT_KNOWN.length);
  if (ways.length === 0) return said;
  return inOrderOfTelling(ways)
    .filter((way) => way.verdict === verdict)
    .map(describeWay)
    .join("; ");
}

function describeWay(way: Way): string {
  const stage = decisive(way);
  const arrives = way.outcome.arrives && (stage === undefined || stage.until !== undefined);
  if (!arrives) return `${way.via === "pic" ? "PIC: " : ""}${stage?.text ?? ""}`;
  const arrival = [arrivalOf(way), `(${way.via})`, ...way.stages.flatMap(({ until }) => until ?? [])];
  return [arrival.join(" "), ...way.stages.flatMap(({ note }) => note ?? [])].join("; ");
}

function renderMoved({ ms, observation }: Watched, view: View): string {
  const news = newsLines({ ...observation, appeared: [], gone: [] }, view);
  return news.length === 0
    ? `in ${time(ms)}: nothing changed\n`
    : `${[`in ${time(ms)}:`, ...news.map((text) => `  ${text}`)].join("\n")}\n`;
}

function renderFindings(findings: readonly Finding[], view: View): string {
  if (findings.length === 0) return `${view.paint.green("no findings")}\n`;
  const rows = findings.flatMap(({ severity, code, sentence, evidence, remedy, anchor }) => [
    [paintSeverity(severity, view), view.paint.bold(`${code}: ${sentence}`)],
    ...[`evidence: ${evidence}`, `remedy: ${remedy}`, `see ${anchor}`].map((line) => [
      "",
      view.paint.dim(line),
    ]),
  ]);
  return table([{ head: "SEVERITY" }, { head: "FINDING", wraps: true }], rows, view);
}
