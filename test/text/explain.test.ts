import { Chalk } from "chalk";
import { describe, expect, it } from "vitest";
import { HOST_ARCH } from "../../src/arch/arches.ts";
import { explainAll, explainGsi } from "../../src/arch/x86/explain/explain.ts";
import { findings } from "../../src/arch/x86/explain/findings.ts";
import { renderDifferences } from "../../src/text/diff.ts";
import { renderExplanation } from "../../src/text/explain.ts";
import { renderOverview } from "../../src/text/explain-all.ts";
import { width } from "../../src/text/fit.ts";
import { type Scenario, snapshotFor } from "../arch/x86/explain/scenario.ts";
import { SCENARIOS } from "../arch/x86/explain/scenarios.ts";

const WIDTHS = [72, 80, 100, 160];
const plain = new Chalk({ level: 0 });
const coloured = new Chalk({ level: 1 });
const wide = { paint: plain, columns: Number.POSITIVE_INFINITY };
const optionsOf = ({ routing }: Scenario) => ({ routing: routing ?? ("default" as const) });
const explained = (scenario: Scenario) =>
  explainGsi(snapshotFor(scenario), scenario.gsi, optionsOf(scenario));
const lines = (text: string) => text.trimEnd().split("\n");
/** Text as one line, whatever it was wrapped to. */
const unwrapped = (text: string) => text.replace(/\s+/g, " ");

describe.each(SCENARIOS)("shown: $name", (scenario) => {
  const explanation = explained(scenario);

  it.each(WIDTHS)("no line is wider than %i columns, and nothing is left out", (columns) => {
    const text = renderExplanation(explanation, {}, { paint: coloured, columns });
    for (const line of lines(text)) expect(width(line)).toBeLessThanOrEqual(columns);
    const narrow = unwrapped(renderExplanation(explanation, {}, { paint: plain, columns }));
    for (const { stages } of explanation.ways) {
      for (const { text, evidence, remedy = "" } of stages) {
        for (const part of [text, evidence, remedy]) expect(narrow).toContain(unwrapped(part));
      }
    }
    expect(narrow.trimEnd().endsWith(explanation.sentence)).toBe(true);
  });

  it.each(WIDTHS)("all GSIs and findings fit in %i columns", (columns) => {
    const snapshot = snapshotFor(scenario);
    const found = findings(snapshot, undefined, optionsOf(scenario));
    const overview = { gsis: explainAll(snapshot, optionsOf(scenario)), findings: found, watched: undefined };
    const text = renderOverview(overview, { paint: plain, columns });
    for (const line of lines(text)) expect(width(line)).toBeLessThanOrEqual(columns);
    for (const { sentence, remedy } of found) {
      expect(unwrapped(text)).toContain(unwrapped(sentence));
      expect(unwrapped(text)).toContain(unwrapped(remedy));
    }
  });

  it("in a pipe each stage is a line, and the deciding one is marked", () => {
    const text = renderExplanation(explanation, {}, wide);
    const stages = explanation.ways.flatMap((way) => way.stages);
    expect(lines(text).filter((line) => line.startsWith("=>"))).toHaveLength(
      explanation.ways.filter(({ verdict }) => verdict !== "open").length,
    );
    for (const { name, state, text: what } of stages) {
      const row = lines(text).find((line) => line.includes(what));
      expect(row?.slice(4)).toMatch(new RegExp(`^${name} +${state} `));
    }
  });
});

describe("differences", () => {
  const shown = (from: unknown, to: unknown, set?: number[], cleared?: number[]) =>
    renderDifferences(
      [{ path: "x", from, to, ...(set && { set }), ...(cleared && { cleared }) }],
      wide,
      HOST_ARCH,
    );

  it("name the bits of registers and the vectors of lists", () => {
    expect(shown(0xff, 0xef, [], [4])).toBe("x: 0xff -> 0xef (cleared bit 4)\n");
    expect(shown(0x01, 0x06, [1, 2], [0])).toBe("x: 0x01 -> 0x06 (set bits 1 2, cleared bit 0)\n");
    expect(shown([0x31], [0x31, 0x44], [0x44], [])).toBe("x: 0x31 -> 0x31 0x44 (came 0x44)\n");
    expect(shown([], [0x44], [0x44], [])).toBe("x: - -> 0x44\n");
    expect(shown(false, true)).toBe("x: false -> true\n");
  });
});
