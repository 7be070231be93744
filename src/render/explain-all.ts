import { decisive, inOrderOfTelling } from "../diagnose/explain-sentence.ts";
import type { Explanation, Way } from "../diagnose/explanation.ts";
import type { Finding } from "../diagnose/finding.ts";
import { arrivalOf, paintVerdict, renderAssumptions, type Watched } from "./explain.ts";
import { time } from "./format.ts";
import { table } from "./table.ts";
import type { View } from "./view.ts";
import { newsLines, paintSeverity } from "./watch-news.ts";

export interface Overview {
  gsis: readonly Explanation[];
  findings: readonly Finding[];
  watched: Watched | undefined;
}

/** Every GSI a row, what moved between two readings, and what is wrong. */
export function renderOverview({ gsis, findings, watched }: Overview, view: View): string {
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
    rows.length === 0 ? "no GSI is routed anywhere\n" : table(columns, rows, view),
    watched === undefined ? "" : renderMoved(watched, view),
    renderAssumptions(gsis[0]?.assumptions ?? [], view),
    renderFindings(findings, view),
  ]
    .filter((part) => part !== "")
    .join("\n");
}

/** Of the ways that give a GSI its verdict: where they lead, and until when that is held, or what stops them. */
function wayOut({ verdict, ways, sentence }: Explanation): string {
  if (ways.length === 0) return sentence.replace(/^.*?: /, "");
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
