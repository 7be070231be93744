import { vcpuNames } from "../abi/bits.ts";
import { decisive, type Explanation, type Stage, type Verdict, type Way } from "../rules/explanation.ts";
import type { Observation } from "../rules/observe.ts";
import { time } from "./duration.ts";
import { inOrderOfTelling, VIA } from "./explain-sentence.ts";
import { width } from "./fit.ts";
import { hex } from "./format.ts";
import { paragraph, table } from "./table.ts";
import type { View } from "./view.ts";
import { newsLines } from "./watch-news.ts";

/** What two readings showed, and how far apart they were. */
export interface Watched {
  ms: number;
  observation: Pick<Observation, "snapshot" | "risen" | "changes" | "appeared" | "gone">;
}

const MARK = "=>";

/** A GSI's ways, stage by stage, what was taken for granted, and the one sentence last. */
export function renderExplanation(
  explanation: Explanation,
  { watched, ...looked }: Looks & { watched?: Watched | undefined },
  view: View,
): string {
  const { gsi, verdict, sentence, ways, assumptions } = explanation;
  return [
    ...inOrderOfTelling(ways).map((way) => renderWay(way, view)),
    watched === undefined ? "" : renderWatched(gsi, watched, view),
    renderAssumptions(assumptions, view),
    verdict === "blocked" ? renderLooks(looked, view) : "",
    paragraph(view.paint.bold(VERDICT_COLOUR[verdict](view)(sentence)), view),
  ]
    .filter((part) => part !== "")
    .join("\n");
}

/** How often one reading looked at the VM, and in how long. */
export interface Looks {
  looks?: number;
  ms?: number;
}

/** What was done to tell what lasts from what is over in a moment; nothing after a single look. */
export function renderLooks({ looks = 1, ms = 0 }: Looks, { paint }: View): string {
  return looks === 1
    ? ""
    : `${paint.dim(`looked ${looks} times in ${time(ms)}: what is wrong was so each time`)}\n`;
}

/** What was taken for granted, a paragraph each. */
export function renderAssumptions(assumptions: readonly string[], view: View): string {
  return assumptions.map((text) => paragraph(view.paint.dim(`assumed: ${text}`), view)).join("");
}

/** A verdict in its colour. */
export function paintVerdict(verdict: Verdict, view: View): string {
  return VERDICT_COLOUR[verdict](view)(verdict);
}

const VERDICT_COLOUR: Record<Verdict, (view: View) => (text: string) => string> = {
  open: ({ paint }) => paint.green,
  held: ({ paint }) => paint.yellow,
  blocked: ({ paint }) => paint.red,
  unknown: ({ paint }) => paint.magenta,
};

/** Where a way leads: "vCPU 0 as vector 0x34", or a dash. */
export function arrivalOf({ outcome }: Way): string {
  const { arrives, vcpus, vector, delivery_mode } = outcome;
  if (!arrives) return "-";
  const form = vector === null ? delivery_mode.toUpperCase() : `vector ${hex(vector)}`;
  return `${vcpuNames(vcpus)} as ${form}`;
}

function renderWay(way: Way, view: View): string {
  const { via, verdict, stages } = way;
  const title = `${view.paint.bold.cyan(`through ${VIA[via]}`)}  ${paintVerdict(verdict, view)}`;
  return `${title}\n${stageTable(stages, decisive(way), view)}`;
}

/** A row a stage where there is room for that, as in a pipe; else evidence and remedy go below the text. */
function stageTable(stages: readonly Stage[], deciding: Stage | undefined, view: View): string {
  const head = [{ head: " ".repeat(MARK.length) }, { head: "STAGE" }, { head: "STATE" }];
  const wide = table(
    [...head, { head: "WHAT" }, { head: "EVIDENCE" }, { head: "REMEDY" }],
    stages.map((stage) => [
      ...firstCells(stage, deciding, view),
      stage.text,
      stage.evidence,
      stage.remedy ?? "",
    ]),
    view,
  );
  if (wide.split("\n").every((line) => width(line) <= view.columns)) return wide;
  const rows = stages.flatMap((stage) => {
    const below = [stage.evidence, ...(stage.remedy === undefined ? [] : [`remedy: ${stage.remedy}`])];
    return [
      [...firstCells(stage, deciding, view), stage.text],
      ...below.map((line) => ["", "", "", view.paint.dim(line)]),
    ];
  });
  return table([...head, { head: "WHAT, AND WHERE IT IS READ FROM", wraps: true }], rows, view);
}

function firstCells(stage: Stage, deciding: Stage | undefined, { paint }: View): string[] {
  const decides = stage === deciding;
  const colour = STATE_COLOUR[stage.state];
  const state = decides ? paint.bold[colour](stage.state) : paint[colour](stage.state);
  return [decides ? paint.bold[colour](MARK) : "", decides ? paint.bold(stage.name) : stage.name, state];
}

const STATE_COLOUR = {
  open: "green",
  pending: "green",
  held: "yellow",
  "in service": "yellow",
  blocked: "red",
  unknown: "magenta",
} as const;

function renderWatched(gsi: number, { ms, observation }: Watched, view: View): string {
  const rose = observation.risen.includes(gsi);
  const line = rose ? `GSI ${gsi} rose` : `GSI ${gsi} was not seen to rise`;
  const news = newsLines({ ...observation, risen: [] }, view);
  return `${[`in ${time(ms)}: ${line}`, ...news.map((text) => `  ${text}`)].join("\n")}\n`;
}
