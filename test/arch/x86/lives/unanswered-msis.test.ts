import { describe, expect, test } from "vitest";
import { chainsOf } from "../../../../src/arch/x86/lives/chains.ts";
import { accept, eoi, msi, trace, up, VCPU } from "../../../support/trace-events.ts";

const toNobody = { route: "none", vector: 0x61, outcome: "unfinished" };
const aLook = [...msi(0x61, { dest: 5 }), VCPU] as const;

describe("an MSI that no local APIC is offered", () => {
  test("is unfinished, and has its vector", () => {
    expect(chainsOf(trace(msi(0x61, { dest: 5 })))).toMatchObject([
      { ...toNobody, gsi: null, stopped: { at: "raised", why: "no local APIC at the MSI's destination" } },
    ]);
  });

  test("counts each time it is sent", () => {
    const chains = chainsOf(trace(msi(0x61, { dest: 5 }), msi(0x61, { dest: 5 })));
    expect(chains).toMatchObject([toNobody, toNobody]);
  });

  test("is one of two where time has passed between them", () => {
    const later = [...msi(0x62, { dest: 5 }), { time: 50_000 }] as const;
    expect(chainsOf(trace(msi(0x61, { dest: 5 }), [...later]))).toHaveLength(2);
  });

  test("was sent for certain when it came through a GSI, whoever's thread it was on", () => {
    expect(chainsOf(trace([...up(30), VCPU], [...aLook], eoi(-1)))).toMatchObject([{ ...toNobody, gsi: 30 }]);
  });
});

describe("a route that KVM only looks at is no MSI", () => {
  test("when it has no MSI's address", () => {
    expect(chainsOf(trace(["kvm_msi_set_irq", { address: 0, data: 0 }]))).toEqual([]);
  });

  test("when a table of different ones is gone through", () => {
    const table = [msi(0, { dest: 0 }), msi(0x61, { dest: 5 }), msi(0x62, { dest: 5 })];
    expect(chainsOf(trace(...table))).toEqual([]);
  });

  test("on a thread that runs a vCPU, even if that turns out later", () => {
    expect(chainsOf(trace([...aLook], eoi(-1)))).toEqual([]);
    expect(chainsOf(trace(eoi(-1), [...aLook]))).toEqual([]);
  });

  test("and leaves no gap in the numbers of the others", () => {
    const events = trace([...aLook], eoi(-1), msi(0x63), accept(0x63));
    expect(chainsOf(events)).toMatchObject([{ id: 1, route: "msi", vector: 0x63 }]);
  });
});
