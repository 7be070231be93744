import { describe, expect, it } from "vitest";
import { risenGsis } from "../../src/arch/x86/edges.ts";
import { applyPreset } from "../../src/arch/x86/presets.ts";
import { pinRoutesOf } from "../../src/arch/x86/routing.ts";
import type { Snapshot } from "../../src/arch/x86/state.ts";
import { hasNews } from "../../src/rules/observe.ts";
import { snapshotOf } from "../arch/x86/explain/prediction.ts";
import { type AllChips, all, pin, snapshotFor } from "../arch/x86/explain/scenario.ts";
import { MACHINES } from "../support/machines.ts";
import { observe } from "../support/observe.ts";
import { runningVcpu } from "../support/reset.ts";

type Change = (chips: AllChips) => void;
const snapshotWith = (base: "pic" | "ioapic", change: Change = () => {}): Snapshot =>
  snapshotFor({ name: "", gsi: 0, sentence: "", base, change });

const pic = (chip: "pic1" | "pic2", change: Partial<AllChips["pic1"]>): Change => {
  return (chips) => Object.assign(chips[chip], change);
};
const lapic = (change: Partial<AllChips["lapic"][number]>): Change => {
  return (chips) => Object.assign(chips.lapic[0]!, change);
};
const irr = (...pins: number[]): Change => {
  return ({ ioapic }) => {
    ioapic.irr = pins.reduce((bits, number) => bits | (1 << number), 0);
  };
};
const nothing: Change = () => {};
const level = pin(20, { remote_irr: true });

/** Pin 4 has vector 0x34 and is edge-triggered, pin 20 has 0x44 and is level-triggered. */
const READINGS: [what: string, before: Change, after: Change, risen: number[]][] = [
  ["nothing happened", nothing, nothing, []],
  ["a PIC's input is high", nothing, pic("pic1", { last_irr: 0x10 }), [4]],
  ["a PIC's input was pulsed: IRR alone tells", nothing, pic("pic2", { irr: 0x02 }), [9]],
  ["several rose", nothing, pic("pic1", { irr: 0x0a }), [1, 3]],
  ["a PIC's input fell", pic("pic1", { last_irr: 0x10, irr: 0x10 }), pic("pic1", { irr: 0x10 }), []],
  ["the cascade shows the slave's output, not GSI 2", nothing, pic("pic1", { irr: 4, last_irr: 4 }), []],
  ["an edge came and was taken", nothing, pic("pic1", { isr: 0x10 }), [4]],
  ["an edge that was pending was taken", pic("pic1", { irr: 0x10 }), pic("pic1", { isr: 0x10 }), []],
  [
    "a level that stayed up is in service again",
    pic("pic1", { elcr: 0x20, last_irr: 0x20, irr: 0x20 }),
    pic("pic1", { elcr: 0x20, last_irr: 0x20, irr: 0x20, isr: 0x20 }),
    [],
  ],
  ["an IOAPIC pin's IRR came", nothing, irr(20, 21), [20, 21]],
  ["a level rose and fell: remote IRR tells", nothing, level, [20]],
  ["a level that is up was sent", irr(20), all(irr(20), level), []],
  ["an edge was sent: its vector is pending", nothing, lapic({ irr: [0x34] }), [4]],
  ["an edge was sent and taken", nothing, lapic({ isr: [0x34] }), [4]],
  ["an edge's vector that was pending was taken", lapic({ irr: [0x34] }), lapic({ isr: [0x34] }), []],
  [
    "a second edge while the first is in service",
    lapic({ isr: [0x34] }),
    lapic({ irr: [0x34], isr: [0x34] }),
    [4],
  ],
  [
    "a vector that two pins send tells of neither",
    pin(5, { vector: 0x34 }),
    all(pin(5, { vector: 0x34 }), lapic({ irr: [0x34] })),
    [],
  ],
  [
    "a masked pin's vector came from elsewhere",
    pin(4, { mask: true }),
    all(pin(4, { mask: true }), lapic({ irr: [0x34] })),
    [],
  ],
  [
    "PIC and IOAPIC show the same edge",
    nothing,
    all(pic("pic1", { irr: 0x10 }), lapic({ irr: [0x34] })),
    [4],
  ],
];

describe("the lines that rose between two readings", () => {
  const risen = (before: Change, after: Change, routing: "default" | "qemu" = "default") =>
    risenGsis(
      snapshotWith("ioapic", before).chips,
      snapshotWith("ioapic", after).chips,
      pinRoutesOf(routing),
    );

  it.each(READINGS)("%s", (_, before, after, expected) => {
    expect(risen(before, after)).toEqual(expected);
  });

  it("are named by the routing: QEMU's GSI 0 is IOAPIC pin 2", () => {
    expect(risen(nothing, irr(2), "qemu")).toEqual([0]);
  });

  describe.each(MACHINES)("on $name", ({ make, skip }) => {
    it.skipIf(skip).each([
      ["pic", [0, 4, 9]],
      ["ioapic", [0, 4, 9, 20, 23]],
    ] as const)("with the %s preset, each pulse of a quiet line is seen", (preset, gsis) => {
      const machine = make(1);
      applyPreset(machine, preset);
      for (const gsi of gsis) {
        const before = observe(undefined, snapshotOf(machine));
        machine.setIrqLine(gsi, 1);
        machine.setIrqLine(gsi, 0);
        expect(observe(before, snapshotOf(machine)).risen).toEqual([gsi]);
      }
      machine.close();
    });
  });
});

describe("what is new in a reading", () => {
  const quiet = snapshotWith("ioapic");
  const odd = snapshotWith("ioapic", pin(9, { vector: 3 }));

  it("of the first is every finding, and no change", () => {
    const { reading, changes, appeared, gone, risen } = observe(undefined, odd);
    expect({ reading, changes, gone, risen }).toEqual({ reading: 1, changes: [], gone: [], risen: [] });
    expect(appeared.map(({ code }) => code)).toEqual(["illegal-vector"]);
  });

  it("is told once: findings appear, stay, and go", () => {
    const first = observe(undefined, quiet);
    const second = observe(first, odd);
    const third = observe(second, odd);
    const fourth = observe(third, quiet);
    const codes = [second, third, fourth].map(({ appeared, gone }) => [appeared.length, gone.length]);
    expect(codes).toEqual([
      [1, 0],
      [0, 0],
      [0, 1],
    ]);
    expect([first, second, third, fourth].map(hasNews)).toEqual([false, true, false, true]);
  });

  it("is no finding whose sentence alone is another: the pin is the same, and so is its fault", () => {
    const first = observe(undefined, odd);
    const worded = observe(first, snapshotWith("ioapic", pin(9, { vector: 4 })));
    expect(worded.findings[0]!.sentence).not.toBe(first.findings[0]!.sentence);
    expect([worded.appeared, worded.gone]).toEqual([[], []]);
    const elsewhere = observe(first, snapshotWith("ioapic", pin(10, { vector: 3 })));
    expect([...elsewhere.appeared, ...elsewhere.gone].map(({ subject }) => subject)).toEqual([
      "ioapic.redirtbl[10]",
      "ioapic.redirtbl[9]",
    ]);
  });

  it("counts edges from the first reading on", () => {
    const high = snapshotWith("ioapic", pic("pic1", { last_irr: 0x10 }));
    const counted = [high, quiet, high, high].reduce(observeOn, observe(undefined, quiet));
    expect([...counted.edges]).toEqual([[4, 2]]);
    expect(counted.risen).toEqual([]);
    expect(counted.reading).toBe(5);
  });

  it("leaves out the timer, the vCPUs' own progress, and what is to be ignored", () => {
    const running = (rip: number, timer: number): Snapshot => ({
      ...snapshotWith("ioapic", lapic({ timer_current: timer, esr: timer })),
      vcpus: [runningVcpu(0, { rip })],
    });
    const first = observe(undefined, running(1, 1));
    expect(observe(first, running(2, 2)).changes.map(({ path }) => path)).toEqual(["lapic[0].esr"]);
    expect(hasNews(observe(first, running(2, 2), { ignore: ["lapic[*].esr"] }))).toBe(false);
  });
});

function observeOn(previous: ReturnType<typeof observe>, snapshot: Snapshot) {
  return observe(previous, snapshot);
}
