import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { explainGsi, HOPS } from "../../src/arch/x86/explain/explain.ts";
import { FINDING_TABLES } from "../../src/arch/x86/explain/findings.ts";
import type { Rule } from "../../src/rules/rule.ts";
import { snapshotFor } from "../arch/x86/explain/scenario.ts";
import { SCENARIOS } from "../arch/x86/explain/scenarios.ts";

const page = readFileSync(new URL("../../docs/findings.md", import.meta.url), "utf8");
const headings = (level: string) =>
  [...page.matchAll(new RegExp(`^${level} ([a-z0-9-]+)$`, "gm"))].map(([, code]) => code);

/** Stages that take what no scenario has: chips or registers that were not read, no routing, or a route of a running VM. */
const WITHOUT_SCENARIO = [
  "route-not-followed",
  "vcpu-unread",
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

  it("lists the codes of each condition that has several", () => {
    const rows = [...page.matchAll(/^\| `([a-z-]+)` +\| (.*?) +\|/gm)].map(([, code, stages]) => [
      code,
      [...stages!.matchAll(/`([a-z-]+)`/g)].map(([, alias]) => alias).sort(),
    ]);
    const aliases = new Map<string, Set<string | undefined>>();
    for (const { rules } of [...Object.values(HOPS), ...FINDING_TABLES]) {
      for (const { code, as } of rules as readonly Pick<Rule<never>, "code" | "as">[]) {
        if (as) aliases.set(code, new Set([...(aliases.get(code) ?? []), ...Object.values(as)]));
      }
    }
    const declared = [...aliases].map(([code, others]) => [code, [...others].sort()]);
    expect(rows.filter(([, others]) => others!.length > 0).sort()).toEqual(declared.sort());
  });

  it("has every stage that a scenario comes to, and no other", () => {
    const met = SCENARIOS.flatMap((scenario) => {
      const options = { routing: scenario.routing ?? ("default" as const) };
      return explainGsi(snapshotFor(scenario), scenario.gsi, options).ways.flatMap(({ stages }) =>
        stages.map(({ code }) => code),
      );
    });
    expect(headings("####").sort()).toEqual([...new Set([...met, ...WITHOUT_SCENARIO])].sort());
  });
});
