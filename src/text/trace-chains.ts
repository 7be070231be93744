import { beginOf, type Chain, type Step } from "../lives/chain.ts";
import { durationText } from "./duration.ts";
import { width } from "./fit.ts";
import { type FixedColumn, Rows } from "./rows.ts";
import { stamp } from "./trace.ts";
import { gsiText, processText, severalProcesses, vectorText } from "./trace-place.ts";
import type { View } from "./view.ts";

/** The life of each interrupt, a row each; where the terminal is too narrow, its steps stand below it. */
export function renderChains(chains: readonly Chain[], view: View): string {
  const columns = columnsFor(chains);
  const all = new Rows([...columns, { head: "LIFE", width: 0, text: life }], {
    ...view,
    columns: Number.POSITIVE_INFINITY,
  });
  const lines = chains.map((chain) => all.row(chain));
  if (lines.every((line) => width(line) <= view.columns)) return `${[all.heading(), ...lines].join("\n")}\n`;
  const narrow = new Rows(columns, view);
  const below = chains.map((chain) => `${narrow.row(chain)}\n${wrap(life(chain), view.columns)}`);
  return `${[narrow.heading(), ...below].join("\n")}\n`;
}

function columnsFor(chains: readonly Chain[]): FixedColumn<Chain>[] {
  const digits = String(chains.at(-1)?.id ?? 0).length;
  const process: FixedColumn<Chain> = { head: "PROCESS", width: 7, right: true, text: processText };
  const longest = chains.some(({ again }) => again) ? "unfinished, again" : "unfinished";
  return [
    { head: "#", width: digits, right: true, text: ({ id }) => String(id) },
    { head: "AT (s)", width: 10, right: true, from: 70, text: (chain) => stamp(beginOf(chain)) },
    ...(severalProcesses(chains) ? [process] : []),
    { head: "GSI", width: 3, right: true, text: gsiText },
    { head: "VECTOR", width: 6, right: true, text: vectorText },
    { head: "WAY", width: 6, text: ({ route }) => route },
    { head: "TRIGGER", width: 7, from: 60, text: ({ trigger }) => trigger ?? "-" },
    {
      head: "OUTCOME",
      width: longest.length,
      text: (chain, { paint }) => outcome(chain, longest.length, paint),
    },
  ];
}

/** The width comes before the colour, which takes none. */
function outcome({ outcome, again }: Chain, width: number, paint: View["paint"]): string {
  const colours = {
    complete: paint.green,
    coalesced: paint.yellow,
    posted: paint.cyan,
    unfinished: paint.red,
  };
  return colours[outcome]((again ? `${outcome}, again` : outcome).padEnd(width));
}

/** Steps in the order in which they happened, each with the time since the one before. */
function life(chain: Chain): string {
  const steps = (Object.entries(chain.steps) as [Step, number][]).sort(([, one], [, other]) => one - other);
  return steps
    .map(([step, time], index) =>
      index === 0 ? step : `+${durationText(time - steps[index - 1]![1])} ${step}`,
    )
    .join(", ");
}

/** Breaks a list behind commas and the like, indented. */
export function wrap(text: string, columns: number): string {
  const lines: string[] = [];
  for (const part of text.split(/(?<=[,;:]) /)) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + part.length <= columns) lines.push(`${lines.pop()} ${part}`);
    else lines.push(`    ${part}`);
  }
  return lines.join("\n");
}
