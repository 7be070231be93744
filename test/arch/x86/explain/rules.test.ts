import { describe, expect, it } from "vitest";
import { HOPS } from "../../../../src/arch/x86/explain/explain.ts";
import { FINDING_TABLES } from "../../../../src/arch/x86/explain/findings.ts";
import type { HopTable } from "../../../../src/text/words.ts";
import { isTrue } from "./evidence.ts";

const TABLES = Object.values(HOPS) as HopTable<never>[];

describe("a rule", () => {
  const rules = [...TABLES, ...FINDING_TABLES].flatMap((table) => table.rules);

  it("says where it is from", () => {
    expect(rules.filter(({ ref }) => ref === "")).toEqual([]);
  });

  it("has words for each code that it is published under", () => {
    const speechless = [
      ...TABLES.flatMap(({ name, rules, words }) =>
        rules.map(({ code, as }) => as?.[name] ?? code).filter((code) => words[code] === undefined),
      ),
      ...FINDING_TABLES.flatMap(({ codes, words }) => codes.filter((code) => words[code] === undefined)),
    ];
    expect(speechless).toEqual([]);
  });

  it.each([
    ...TABLES.map(({ name, rules }) => ({ name, codes: rules.map(({ code, as }) => as?.[name] ?? code) })),
    { name: "findings", codes: FINDING_TABLES.flatMap(({ codes }) => codes) },
  ])("has a code of its own among the $name's", ({ codes }) => {
    expect(codes.toSorted()).toEqual([...new Set(codes)].sort());
  });

  it("of a hop says what it does to an interrupt", () => {
    for (const { rules } of TABLES) {
      expect(rules.filter(({ level }) => level.hop === undefined)).toEqual([]);
    }
  });
});

describe("evidence", () => {
  const state = { pic1: { imr: 0x10 }, lapic: [{ vcpu: 0, irr: [0x41] }] };
  it.each([
    [{ path: "pic1.imr", operator: "=", value: "0x10" }, true],
    [{ path: "pic1.imr", operator: "=", value: 17 }, false],
    [{ path: "pic1.imr", operator: "&", value: 4 }, true],
    [{ path: "pic1.imr", operator: "&", value: 3 }, false],
    [{ path: "pic1.imr", operator: "!&", value: 3 }, true],
    [{ path: "pic1.imr", operator: "!&", value: 4 }, false],
    [{ path: "lapic[0].irr", operator: "has", value: "0x41" }, true],
    [{ path: "lapic[0].irr", operator: "has", value: "0x42" }, false],
    [{ path: "lapic[0].irr", operator: "lacks", value: "0x42" }, true],
    [{ path: "lapic[0].irr", operator: "lacks", value: "0x41" }, false],
    [{ path: "chips.ioapic", operator: "missing", value: "" }, true],
    [{ path: "chips.pic1", operator: "missing", value: "" }, false],
  ] as const)("%o is %s", (fact, so) => {
    expect(isTrue(state, fact)).toBe(so);
  });
});
