import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DEFAULT_ROUTES } from "../../src/arch/x86/routing.ts";
import { diffSnapshots } from "../../src/rules/diff-snapshots.ts";
import type { Routing } from "../../src/vm/routing.ts";
import { resetChips, runningVcpu } from "../support/reset.ts";

const state = (vcpus = 1) => ({ chips: resetChips(vcpus), vcpus: [runningVcpu(0)] });

describe("diff", () => {
  it("finds nothing between a snapshot and itself", () => {
    expect(diffSnapshots(state(2), state(2))).toEqual([]);
  });

  it("names a field of a redirection entry by its path", () => {
    const after = state();
    after.chips.ioapic.redirtbl[4]!.mask = false;
    expect(diffSnapshots(state(), after)).toEqual([
      { path: "ioapic.redirtbl[4].mask", from: true, to: false },
    ]);
  });

  it("tells a register's bits that were set and cleared", () => {
    const before = state();
    const after = state();
    before.chips.pic1.imr = 0x11;
    after.chips.pic1.imr = 0x30;
    expect(diffSnapshots(before, after)).toEqual([
      { path: "pic1.imr", from: 0x11, to: 0x30, set: [5], cleared: [0] },
    ]);
  });

  it("reads registers of 64 bits that JSON keeps as text", () => {
    const after = state();
    after.vcpus[0]!.efer = "0xffff000000000500";
    expect(diffSnapshots(state(), after)).toMatchObject([
      { path: "vcpus[0].efer", set: Array.from({ length: 16 }, (_, n) => 48 + n), cleared: [] },
    ]);
  });

  it("finds no difference in what one side could not read of a vCPU", () => {
    const { rip: _, rflags: __, ...rest } = runningVcpu(0);
    const unread = { ...state(), vcpus: [rest] };
    expect(diffSnapshots(state(), unread)).toEqual([]);
    expect(diffSnapshots(unread, state())).toEqual([]);
  });

  it("finds a vCPU that stopped running, and no difference where one side can't tell", () => {
    const [running, paused] = [true, false].map((run) => ({
      ...state(),
      vcpus: [{ ...runningVcpu(0), run }],
    }));
    expect(diffSnapshots(running!, paused!)).toEqual([{ path: "vcpus[0].run", from: true, to: false }]);
    expect(diffSnapshots(running!, state())).toEqual([]);
  });

  it("does not take numbers such as a vector base for bits", () => {
    const after = state();
    after.chips.pic1.irq_base = 0x20;
    expect(diffSnapshots(state(), after)).toEqual([{ path: "pic1.irq_base", from: 0, to: 0x20 }]);
  });

  it("tells vectors that came and went", () => {
    const before = state();
    const after = state();
    before.chips.lapic[0]!.irr = [0x31, 0x41];
    after.chips.lapic[0]!.irr = [0x41, 0x52];
    expect(diffSnapshots(before, after)).toEqual([
      { path: "lapic[0].irr", from: [0x31, 0x41], to: [0x41, 0x52], set: [0x52], cleared: [0x31] },
    ]);
  });

  describe("of routings", () => {
    const routed = (routing: Routing) => ({ ...state(), routing });

    it("takes the default for the table that it stands for, in any order", () => {
      expect(diffSnapshots(routed("default"), routed(DEFAULT_ROUTES.toReversed()))).toEqual([]);
    });

    it("names each GSI that goes elsewhere, with all its ways", () => {
      const without = DEFAULT_ROUTES.filter(({ gsi, chip }) => gsi !== 4 || chip === "ioapic");
      const msi = { address: 0xfee0_0000, data: 0x41 };
      expect(diffSnapshots(routed("default"), routed([...without, { gsi: 30, msi }]))).toEqual([
        {
          path: "routing[4]",
          from: [
            { chip: "pic1", pin: 4 },
            { chip: "ioapic", pin: 4 },
          ],
          to: [{ chip: "ioapic", pin: 4 }],
        },
        { path: "routing[30]", from: [], to: [{ msi }] },
      ]);
    });

    it("is left out where one can't tell it, and where it is not wanted", () => {
      expect(diffSnapshots(routed([]), state())).toEqual([]);
      expect(diffSnapshots(routed([]), routed("default"), { ignore: ["routing[1-23]"] })).toHaveLength(1);
      expect(diffSnapshots(routed([]), routed("default"), { ignore: ["routing"] })).toEqual([]);
    });
  });

  it("pairs local APICs by vCPU, not by place", () => {
    const after = state(2);
    after.chips.lapic.reverse();
    expect(diffSnapshots(state(2), after)).toEqual([]);
  });

  it("shows a chip that only one snapshot has", () => {
    const { ioapic, ...chips } = resetChips(1);
    const found = diffSnapshots({ chips }, { chips: { ...chips, ioapic } });
    expect(found).toEqual([{ path: "ioapic", to: ioapic }]);
  });

  it.each([
    ["ioapic", ["pic1.imr"]],
    ["ioapic.redirtbl[4]", ["pic1.imr", "ioapic.redirtbl[14].mask"]],
    ["ioapic.redirtbl[*].mask", ["pic1.imr"]],
    ["pic1.im", ["pic1.imr", "ioapic.redirtbl[4].mask", "ioapic.redirtbl[14].mask"]],
  ])("ignores %s and all below it", (path, left) => {
    const after = state();
    after.chips.pic1.imr = 1;
    after.chips.ioapic.redirtbl[4]!.mask = false;
    after.chips.ioapic.redirtbl[14]!.mask = false;
    expect(diffSnapshots(state(), after, { ignore: [path] }).map((one) => one.path)).toEqual(left);
  });

  it("gives the bits that lead from one value to the other", () => {
    const byte = fc.nat(0xff);
    fc.assert(
      fc.property(byte, byte, (from, to) => {
        const before = state();
        const after = state();
        before.chips.pic2.isr = from;
        after.chips.pic2.isr = to;
        const [found] = diffSnapshots(before, after);
        const change = (bits: number[] = []) => bits.reduce((sum, bit) => sum + 2 ** bit, 0);
        expect(from + change(found?.set) - change(found?.cleared)).toBe(to);
      }),
    );
  });
});
