import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { explainGsi } from "../../src/arch/x86/explain/explain.ts";
import { FINDING_TABLES } from "../../src/arch/x86/explain/findings.ts";
import { snapshotFor } from "../arch/x86/explain/scenario.ts";
import { SCENARIOS } from "../arch/x86/explain/scenarios.ts";

const page = readFileSync(new URL("../../docs/findings.md", import.meta.url), "utf8");
const headings = (level: string) =>
  [...page.matchAll(new RegExp(`^${level} ([a-z0-9-]+)$`, "gm"))].map(([, code]) => code);

/** Stages that take a snapshot with chips missing, or without a routing, which no scenario has. */
const WITHOUT_CHIPS = [
  "chip-missing",
  "routing-unknown",
  "ioapic-no-local-apics",
  "msi-no-local-apics",
  "lint0-unknown",
  "lint0-nobody",
];

describe("docs/findings.md", () => {
  it("has every finding, and no other", () => {
    expect(headings("###").sort()).toEqual(FINDING_TABLES.flatMap(({ codes }) => codes).sort());
  });

  it("has every stage that a scenario comes to, and no other", () => {
    const met = SCENARIOS.flatMap((scenario) => {
      const options = { routing: scenario.routing ?? ("default" as const) };
      return explainGsi(snapshotFor(scenario), scenario.gsi, options).ways.flatMap(({ stages }) =>
        stages.map(({ code }) => code),
      );
    });
    expect(headings("####").sort()).toEqual([...new Set([...met, ...WITHOUT_CHIPS])].sort());
  });
});
