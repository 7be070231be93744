import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { guarded, printable } from "../../src/abi/printable.ts";
import { controlsIn, HOSTILE } from "../support/hostile.ts";

const anyText = fc.string({ unit: "binary" });

describe("text of others for people", () => {
  it("shows controls as escapes", () => {
    expect(printable("\u001b[31ma\tb\r\nc\u009bJ\u007f\u0000\u202ed\u2028")).toBe(
      "\\x1b[31ma\\tb\\r\\nc\\x9bJ\\x7f\\x00\\u202ed\\u2028",
    );
    expect(printable("Größe 中 ✓ '\\'")).toBe("Größe 中 ✓ '\\'");
  });

  it("is one line without controls, whatever it was", () => {
    fc.assert(
      fc.property(anyText, (text) => {
        expect(controlsIn(printable(text))).toEqual([]);
        expect(printable(text)).not.toMatch(/[\n\t]/);
      }),
    );
  });
});

describe("the guard of every output", () => {
  it("lets lines, tabs and colours through", () => {
    const ours = "\u001b[1m\u001b[31mred\u001b[39m\u001b[22m\tx\n";
    expect(guarded(ours)).toBe(ours);
    expect(guarded(HOSTILE)).not.toContain("\u001b]");
    expect(guarded("\u001b[2J\u009b31m\r")).toBe("\\u001b[2J\\u009b31m\\u000d");
  });

  it("leaves nothing else that a terminal acts on", () => {
    fc.assert(
      fc.property(anyText, (text) => {
        // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what colours are made of
        const left = guarded(text).replace(/\u001b\[[0-9;]*m/g, "");
        expect(controlsIn(left)).toEqual([]);
      }),
    );
  });

  it("changes no value of JSON", () => {
    fc.assert(
      fc.property(fc.json({ stringUnit: "binary" }), (text) => {
        const json = JSON.stringify(JSON.parse(text));
        expect(JSON.parse(guarded(json))).toEqual(JSON.parse(text));
      }),
    );
  });
});
