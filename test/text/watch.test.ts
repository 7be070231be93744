import { stripVTControlCharacters } from "node:util";
import { Chalk } from "chalk";
import { describe, expect, it } from "vitest";
import { panels } from "../../src/arch/x86/panels.ts";
import { crop, pad, scrollTo, sideBySide } from "../../src/text/fit.ts";
import { costText, renderStill, renderWatch, type WatchFrame } from "../../src/text/watch.ts";
import { clock } from "../../src/text/watch-news.ts";
import { type AllChips, pin, snapshotFor } from "../arch/x86/explain/scenario.ts";
import { observe } from "../support/observe.ts";

const snapshot = (change: (chips: AllChips) => void = () => {}, vcpus = 1) =>
  snapshotFor({ name: "", gsi: 0, sentence: "", base: "ioapic", vcpus, change });

const frame = (change: Partial<WatchFrame> = {}): WatchFrame => ({
  label: "session 'ci'",
  observation: observe(undefined, snapshot()),
  panel: "ioapic",
  panels,
  intervalMs: 500,
  paused: false,
  cost: { cpu: 0.0123 },
  recent: [],
  footer: "q quit",
  top: 0,
  ...change,
});

const uncoloured = new Chalk({ level: 0 });
const draw = (change: Partial<WatchFrame>, columns = 80, rows = 24, paint = uncoloured) =>
  renderWatch(frame(change), { paint, columns }, rows);

const changedBy = (change: (chips: AllChips) => void) =>
  observe(observe(undefined, snapshot()), snapshot(change));

describe("the live view", () => {
  it.each(panels.tabs)("%s fits every terminal: no line wraps, none is too many", (panel) => {
    const many = observe(
      undefined,
      snapshot(({ ioapic, lapic }) => {
        for (const entry of ioapic.redirtbl) entry.vector = 3;
        lapic[0]!.irr = Array.from({ length: 200 }, (_, n) => n + 32);
      }, 40),
    );
    for (const columns of [1, 20, 79, 80, 160]) {
      for (const rows of [1, 2, 3, 4, 10, 24, 50]) {
        const { lines } = draw({ panel, observation: many }, columns, rows, new Chalk({ level: 1 }));
        expect(lines.length).toBeLessThanOrEqual(rows);
        for (const line of lines) expect(stripVTControlCharacters(line).length).toBeLessThanOrEqual(columns);
      }
    }
  });

  it("has the footer in the last row, whatever the body has", () => {
    for (const rows of [4, 24, 50]) expect(draw({}, 80, rows).lines.at(rows - 1)).toBe("q quit");
  });

  it("shows every pin at 80x24, two a row, and one a row in full at 160x50", () => {
    const small = draw({}).lines;
    expect(small[4]).toBe("  0 0x30  edge   phy 00 -     open        12 0x3c  edge   phy 00 -     open");
    expect(small.slice(4, 16).every((line) => / open {8,}.* open$/.test(line))).toBe(true);
    const large = draw({}, 160, 50).lines;
    expect(large[3]).toBe("PIN VECTOR DELIVERY        DESTINATION   TRIGGER POLARITY EDGES STATE");
    expect(large[27]).toBe(" 23 0x47   fixed           physical 0x00 level   high     -     open");
  });

  it("folds idle pins when rows are few, the masked ones first", () => {
    const masked = observe(
      undefined,
      snapshot(({ ioapic }) => {
        for (const entry of ioapic.redirtbl.slice(4)) entry.mask = true;
      }),
    );
    const { lines } = draw({ observation: masked }, 80, 13);
    expect(lines.slice(3, 10).map((line) => line.slice(0, 9).trim())).toEqual([
      ...["PIN VEC", "0 0x30", "1 0x31", "2 0x32", "3 0x33"],
      ...["… idle pi", "EDGES is"],
    ]);
    expect(lines[8]).toBe("… idle pins: 20 masked");
    const one = changedBy(pin(7, { remote_irr: true }));
    const few = draw({ observation: one }, 80, 10).lines;
    expect(few.filter((line) => /0x3|0x4/.test(line))).toEqual(["  7 0x37  edge   phy 00 -     rIRR*"]);
    expect(few).toContain("… idle pins: 23 open");
  });

  it("highlights what changed: inverse, or a star where there are no colours", () => {
    const observation = changedBy(pin(4, { vector: 0x77 }));
    expect(draw({ observation }).lines[8]).toMatch(/^ {2}4 0x77\* edge/);
    const coloured = draw({ observation }, 80, 24, new Chalk({ level: 1 })).lines[8];
    expect(coloured).toContain("\u001b[7m0x77\u001b[27m");
  });

  it("shows how often each line was seen to rise, and what that leaves out", () => {
    const observation = changedBy(({ pic1, lapic }) => {
      pic1.irr = 0x10;
      lapic[0]!.irr = [0x34];
    });
    expect(draw({ observation }).lines[8]).toMatch(/^ {2}4 0x34 {2}edge {3}phy 00 1\* {4}open/);
    expect(draw({ observation, panel: "pic1" }).lines[8]).toMatch(/^IR4 .* 1\* +pending, masked$/);
    expect(draw({ observation }).lines.join("\n")).toContain("EDGES is a least count");
  });

  it("shows findings, new ones with a plus, and the past where there is room", () => {
    const observation = changedBy(pin(9, { vector: 3 }));
    const text = draw({ observation, recent: ["newest", "older"] }).lines.join("\n");
    expect(text).toMatch(/FINDINGS\n\+ error illegal-vector: IOAPIC pin 9 .*\nRECENT\nnewest\nolder\n/);
    const known = observe(observation, observation.snapshot);
    expect(draw({ observation: known }).lines.join("\n")).toContain("FINDINGS\n  error illegal-vector");
  });

  it("says what it costs, and whether it is paused", () => {
    const stops = { threads: 3, longestNs: 412_000 };
    expect(draw({ paused: true, cost: { cpu: 0.0123, stops } }, 120).lines[0]).toBe(
      "session 'ci'  reading 1   PAUSED   1.2 % CPU, stops 3 threads up to 412 us",
    );
    const label = "pid 4242 (qemu-system-x86_64, guest 'database')";
    expect(draw({ label, cost: { cpu: 0.05, stops } }).lines[0]).toBe(
      "pid 4242 (qem…  reading 1  every 500 ms  5.0 % CPU, stops 3 threads up to 412 us",
    );
    expect(costText({ cpu: 0 })).toBe("0.0 % CPU");
  });

  it("says which chips were not read", () => {
    const { lapic: _, ...chips } = snapshot().chips;
    const observation = observe(undefined, { ...snapshot(), chips });
    expect(draw({ observation, panel: "lapic" }).lines[2]).toBe("lapic is not read from this target");
  });

  it("lets no control character of a guest's name through", () => {
    expect(draw({ label: "pid 7 (\u001b[2Jbad\u0007\n)" }).lines[0]).toMatch(
      /^pid 7 \(\\x1b\[2Jbad\\x07\\n\) {2}reading/,
    );
  });

  it("of a file is everything, once", () => {
    const still = renderStill(frame(), { paint: uncoloured, columns: Number.POSITIVE_INFINITY });
    expect(still).toMatch(/^session 'ci'\nCHIP[\s\S]+\n 23 0x47[\s\S]+lapic\[0\]/);
  });

  it("of a target that has ended fits into what the terminal has", () => {
    const still = renderStill(frame(), { paint: uncoloured, columns: 80 }, 12);
    expect(still.trimEnd().split("\n").length).toBeLessThanOrEqual(12);
    expect(still).toContain("… idle pins: 24 open");
  });
});

describe("fitting lines", () => {
  it("crops with an ellipsis, keeps colours whole, and pads to a width", () => {
    const red = new Chalk({ level: 1 }).red;
    expect(crop("abcdef", 6)).toBe("abcdef");
    expect(crop("abcdef", 5)).toBe("abcd…");
    expect(crop(red("abcdef"), 4)).toBe(`${red("abc")}…`);
    expect(pad(red("ab"), 4)).toBe(`${red("ab")}  `);
    expect(sideBySide(["a", "b"], ["c"], 12)).toEqual(["a      c", "b"]);
  });

  it("scrolls no further than to the end, and says how much is below", () => {
    const body = ["1", "2", "3", "4", "5"];
    expect(scrollTo(body, 0, 3)).toEqual({ lines: ["1", "2", "… 3 more lines"], top: 0 });
    expect(scrollTo(body, 99, 3)).toEqual({ lines: ["3", "4", "5"], top: 2 });
    expect(scrollTo(body, 1, 9)).toEqual({ lines: body, top: 0 });
  });

  it("tells the time of a reading to the millisecond", () => {
    expect(clock("2026-01-01T00:00:01.007Z")).toMatch(/^\d\d:\d\d:01\.007$/);
  });
});
