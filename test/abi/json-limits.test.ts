import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { excessOf } from "../../src/abi/json-limits.ts";

describe("the limits of JSON text", () => {
  it("let through whatever is small, however its strings look", () => {
    fc.assert(fc.property(fc.json({ maxDepth: 8 }), (text) => excessOf(text) === undefined));
    const strings = JSON.stringify(Array.from({ length: 2000 }, () => '[[{,"\\'));
    expect(excessOf(strings)).toBeUndefined();
  });

  it.each([
    ["it is nested more than 32 deep", "[".repeat(33)],
    ["it is nested more than 32 deep", '{"a":'.repeat(33)],
    ["it has more than 100000 lists and objects", `[${"{},".repeat(100_000)}0]`],
    ["it has more than 1000000 values", `[${"0,".repeat(1_000_001)}0]`],
    ["an object has more than 1000 fields", `{${'"k":0,'.repeat(1000)}"k":0}`],
  ])("%s", (excess, text) => {
    expect(excessOf(text)).toBe(excess);
  });

  it("count what is open, and not what was", () => {
    expect(excessOf(`[${"[[]],".repeat(1000)}0]`)).toBeUndefined();
    expect(excessOf(`[${'{"a":[],"b":0},'.repeat(2000)}0]`)).toBeUndefined();
    expect(excessOf(`[${"0,".repeat(2000)}0]`)).toBeUndefined();
  });
});
