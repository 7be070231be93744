import type { Wave } from "../lives/waves.ts";
import { durationText } from "../text/duration.ts";
import { hex } from "../text/format.ts";
import { xmlElement, xmlText } from "./xml.ts";

/** Columns beyond which a picture can't be read any more. */
const MOST_COLUMNS = 48;

/** Waves with their times made columns: one for each moment at which something changes. */
export interface Timeline {
  /** How long after the first change each column is. */
  columns: string[];
  /** Moments that found no column. */
  left: number;
  rows: {
    name: string;
    /** `bus` carries a number, which is shown as text, or nothing (`null`). */
    kind: "line" | "bus";
    /** The value before the first column, and in each; `undefined` where it does not change. */
    values: (number | string | null | undefined)[];
  }[];
}

/** Lays waves out as columns: times are not to scale. What changes after the first 48 moments is left out. */
export function timeline(waves: readonly Wave[]): Timeline {
  const moments = [...new Set(waves.flatMap(({ changes }) => changes.map(({ time }) => time)))].sort(
    (one, other) => one - other,
  );
  const columns = moments.slice(0, MOST_COLUMNS);
  const scopes = new Set(waves.map(({ scope }) => scope));
  return {
    columns: columns.map((time) => durationText(time - columns[0]!)),
    left: moments.length - columns.length,
    rows: waves.map((wave) => ({
      name: scopes.size > 1 ? `${wave.scope}.${wave.name}` : wave.name,
      kind: wave.kind === "line" ? "line" : "bus",
      values: valuesOf(wave, columns),
    })),
  };
}

function valuesOf({ kind, changes }: Wave, columns: readonly number[]): Timeline["rows"][number]["values"] {
  const at = new Map(changes.map(({ time, value }) => [time, value]));
  const text = (value: number) => (kind === "vector" ? hex(value) : String(value));
  return [
    kind === "line" ? 0 : null,
    ...columns.map((time) => {
      const value = at.get(time);
      return value === undefined || value === null || kind === "line" ? value : text(value);
    }),
  ];
}

/** Pixels of the picture. */
const COLUMN = 80;
const ROW = 32;
const HIGH = 8;
const LOW = 26;
const MIDDLE = (HIGH + LOW) / 2;
const SLANT = 5;
const LETTER = 8;
const MARGIN = 12;
const TITLE = 40;

/**
 * Waves as an SVG timing diagram, with a column for each of the first 48 moments at which something changes.
 *
 * @param title stands above the picture.
 */
export function svg(title: string, waves: readonly Wave[]): string {
  const { columns, left, rows } = timeline(waves);
  const labels = Math.max(5, ...rows.map(({ name }) => name.length)) * LETTER + 2 * MARGIN;
  const width = Math.max(labels + (columns.length + 1) * COLUMN, title.length * LETTER) + MARGIN;
  const height = TITLE + (rows.length + 2) * ROW;
  const place = (row: number) => `translate(0 ${TITLE + row * ROW})`;
  const edge = (column: number) => labels + column * COLUMN;
  return xmlElement(
    "svg",
    { xmlns: "http://www.w3.org/2000/svg", width, height, viewBox: `0 0 ${width} ${height}`, role: "img" },
    xmlElement("title", {}, xmlText(title)),
    xmlElement("style", {}, STYLE),
    // Black lines on nothing can't be seen where the page around them is dark.
    xmlElement("rect", { width: "100%", height: "100%", fill: "white" }),
    xmlElement("text", { x: MARGIN, y: 24, class: "title" }, xmlText(title)),
    xmlElement(
      "g",
      { transform: place(0) },
      label("after", labels),
      ...columns.map((after, index) => xmlElement("text", { x: edge(index + 1), y: LOW - 4 }, after)),
      ...columns.map((_, index) =>
        xmlElement("path", { class: "time", d: `M${edge(index + 1)} ${ROW}V${(rows.length + 1) * ROW}` }),
      ),
    ),
    ...rows.map(({ name, kind, values }, index) =>
      xmlElement(
        "g",
        { transform: place(index + 1) },
        label(name, labels),
        ...(kind === "line" ? lineOf(values, edge) : busOf(values, edge)),
      ),
    ),
    ...(left === 0
      ? []
      : [
          xmlElement(
            "text",
            { x: MARGIN, y: TITLE + (rows.length + 2) * ROW - MARGIN },
            `${left} more changes are not shown`,
          ),
        ]),
  );
}

const STYLE =
  "text{font:14px sans-serif}.title{font-size:16px;font-weight:bold}.name{text-anchor:end}.value{text-anchor:middle}" +
  "path{fill:none;stroke:black;stroke-width:1.5}.time,.none{stroke:silver}.bus{fill:#fff3c4}";

function label(name: string, labels: number): string {
  return xmlElement("text", { x: labels - MARGIN, y: LOW - 4, class: "name" }, xmlText(name));
}

type Values = Timeline["rows"][number]["values"];

function lineOf(values: Values, edge: (column: number) => number): string[] {
  const height = (value: unknown) => (value === 0 ? LOW : HIGH);
  const steps = values.map((value, column) => {
    const rise =
      value === undefined ? "" : column === 0 ? `M${edge(0)} ${height(value)}` : `V${height(value)}`;
    return `${rise}H${edge(column + 1)}`;
  });
  return [xmlElement("path", { d: steps.join("") })];
}

/** A box for as long as a bus carries one value, a grey line in the middle while it carries none. */
function busOf(values: Values, edge: (column: number) => number): string[] {
  const starts = values.flatMap((value, column) => (value === undefined ? [] : [{ value, column }]));
  return starts.flatMap(({ value, column }, index) => {
    const [from, to] = [edge(column), edge(starts[index + 1]?.column ?? values.length)];
    if (value === null) return [xmlElement("path", { class: "none", d: `M${from} ${MIDDLE}H${to}` })];
    const box = `M${from} ${MIDDLE}L${from + SLANT} ${HIGH}H${to - SLANT}L${to} ${MIDDLE}L${to - SLANT} ${LOW}H${from + SLANT}Z`;
    return [
      xmlElement("path", { class: "bus", d: box }),
      xmlElement("text", { class: "value", x: (from + to) / 2, y: LOW - 4 }, String(value)),
    ];
  });
}
