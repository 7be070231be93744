import { describe, expect, it } from "vitest";
import { renderIoapic } from "../../../src/arch/x86/ioapic/panel.ts";
import { renderLapic } from "../../../src/arch/x86/lapic/panel.ts";
import { renderVcpu } from "../../../src/arch/x86/vcpu/panel.ts";
import { plainView } from "../../../src/text/view.ts";
import { resetChips, runningVcpu } from "../../support/reset.ts";

const view = plainView();

describe("an IOAPIC", () => {
  it("has the id that KVM keeps in the lowest bits, not in those of the register", () => {
    expect(renderIoapic({ ...resetChips(1).ioapic, id: 2 }, view)).toMatch(/^IOAPIC +id 2 /);
  });
});

describe("a local APIC", () => {
  const lapic = resetChips(2).lapic[1]!;

  it("in xAPIC mode has its id in the highest bits", () => {
    expect(renderLapic(lapic, runningVcpu(1), view)).toMatch(/^LAPIC of vCPU 1 +id 1 +mode xAPIC /);
  });

  it("in x2APIC mode has the vCPU's number, whichever of its forms KVM gave", () => {
    const state = runningVcpu(1, { apic_base: 0xfee0_0c00 });
    for (const id of [1, 1 << 24]) {
      expect(renderLapic({ ...lapic, id }, state, view)).toMatch(/^LAPIC of vCPU 1 +id 1 +mode x2APIC /);
    }
  });

  it("says no mode where the vCPU's state is not known", () => {
    expect(renderLapic(lapic, undefined, view)).toMatch(/^LAPIC of vCPU 1 +id 1 +SVR /);
  });

  it("does not take a timer for stopped that the TSC deadline arms", () => {
    const timer = (lvt_timer: number) =>
      /timer +(.*)/.exec(renderLapic({ ...lapic, lvt_timer }, undefined, view))![1];
    expect(timer(0x4_00ec)).toBe(
      "0x400ec  vector 0xec, open, TSC-deadline, armed by IA32_TSC_DEADLINE, which is not read",
    );
    expect(timer(0x2_00ec)).toBe("0x200ec  vector 0xec, open, periodic, stopped");
  });
});

describe("a vCPU", () => {
  const line = (change: Parameters<typeof runningVcpu>[1]) =>
    renderVcpu(runningVcpu(0, change), view).trimEnd();

  it("has an NMI before anything else unless NMIs are masked", () => {
    expect(line({ nmi: { injected: false, pending: 1, masked: false } })).toMatch(/, NMI first$/);
    expect(line({ nmi: { injected: false, pending: 1, masked: true } })).toMatch(/IF set, NMIs masked$/);
  });

  it("is in SMM, or has an SMI pending", () => {
    expect(line({ smi: { smm: true, pending: false } })).toMatch(/, in SMM$/);
    expect(line({ smi: { smm: false, pending: true } })).toMatch(/IF set, SMI pending$/);
  });

  it("is in a shadow that may be of either", () => {
    const shadow = (shadow: number) => line({ interrupt: { injected: false, nr: 0, soft: false, shadow } });
    expect(shadow(1)).toMatch(/, shadow of MOV SS$/);
    expect(shadow(2)).toMatch(/, shadow of STI$/);
    expect(shadow(3)).toMatch(/, shadow of STI or MOV SS$/);
  });
});
