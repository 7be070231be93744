import { describe, expect, it } from "vitest";
import { viewFor } from "../../src/text/view.ts";

describe("the width of what is shown", () => {
  it("is the terminal's", () => {
    expect(viewFor({ isTTY: true, columns: 72 }, { COLUMNS: "100" }).columns).toBe(72);
    expect(viewFor({ isTTY: true }, {}).columns).toBe(80);
  });

  it("is 80 columns on a terminal of 0, such as a serial console or a fresh pty", () => {
    expect(viewFor({ isTTY: true, columns: 0 }, {}).columns).toBe(80);
  });

  it("has no limit without one, unless COLUMNS sets it", () => {
    expect(viewFor({}, {}).columns).toBe(Number.POSITIVE_INFINITY);
    expect(viewFor({}, { COLUMNS: "100" }).columns).toBe(100);
    for (const odd of ["", "0", "-1", "wide"]) {
      expect(viewFor({}, { COLUMNS: odd }).columns).toBe(Number.POSITIVE_INFINITY);
    }
  });
});

describe("colour", () => {
  it("follows the terminal, NO_COLOR and FORCE_COLOR", () => {
    expect(viewFor({}, {}).paint.level).toBe(0);
    expect(viewFor({}, { FORCE_COLOR: "1" }).paint.level).toBeGreaterThan(0);
    expect(viewFor({ isTTY: true }, { NO_COLOR: "1" }).paint.level).toBe(0);
    expect(viewFor({}, { FORCE_COLOR: "1", NO_COLOR: "1" }).paint.level).toBeGreaterThan(0);
  });
});
