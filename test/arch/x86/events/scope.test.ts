import { describe, expect, test } from "vitest";
import { INTERRUPT_EVENTS, kernelFilter } from "../../../../src/arch/x86/events/rows.ts";
import { ScopeFilter } from "../../../../src/arch/x86/events/scope.ts";
import { eventsOf } from "../../../support/recorded-trace.ts";
import { accept, down, entry, eoi, inject, ioapic, pic, trace, up } from "../../../support/trace-events.ts";

const everything = { gsis: [], vectors: [] };

describe("the kernel's filter", () => {
  test("is none for a trace of everything", () => {
    expect(INTERRUPT_EVENTS.map((name) => kernelFilter(name, everything))).toEqual(
      INTERRUPT_EVENTS.map(() => undefined),
    );
  });

  test.each([
    ["kvm_set_irq", "gsi==4||gsi==10"],
    ["kvm_ioapic_set_irq", "pin==4||pin==10"],
    ["kvm_pic_set_irq", "(chip==0&&pin==4)||(chip==1&&pin==2)"],
    ["kvm_eoi", undefined],
  ])("of lines sorts out %s", (event, filter) => {
    expect(kernelFilter(event, { gsis: [4, 10], vectors: [] })).toBe(filter);
  });

  test("lets no PIC event through for lines that no PIC has", () => {
    expect(kernelFilter("kvm_pic_set_irq", { gsis: [20], vectors: [] })).toBe("chip==255");
  });

  test.each([
    ["kvm_apic_accept_irq", "vec==52"],
    ["kvm_eoi", "vector==52"],
    ["kvm_set_irq", undefined],
  ])("of vectors sorts out %s", (event, filter) => {
    expect(kernelFilter(event, { gsis: [], vectors: [52] })).toBe(filter);
  });

  test("of both leaves everything to be sorted out later", () => {
    expect(kernelFilter("kvm_set_irq", { gsis: [4], vectors: [52] })).toBeUndefined();
  });
});

describe("a scope", () => {
  const twoLines = trace(
    ...[up(4), accept(52), ioapic(4, entry(52)), pic(4, { imr: 0xff }), inject(52), eoi(52), down(4)],
    ...[up(9), accept(61), ioapic(9, entry(61)), pic(9, { imr: 0xff }), inject(61), eoi(61), down(9)],
  );

  test("of a line keeps the line's events and its vector's", () => {
    expect(new ScopeFilter({ gsis: [4], vectors: [] }).filter(twoLines)).toEqual(twoLines.slice(0, 7));
  });

  test("of a vector keeps the line that has it", () => {
    expect(new ScopeFilter({ gsis: [], vectors: [61] }).filter(twoLines)).toEqual(twoLines.slice(7));
  });

  test("of everything keeps everything", () => {
    expect(new ScopeFilter(everything).filter(twoLines)).toEqual(twoLines);
  });

  test("does not spread over the vector 0 that masked entries have", () => {
    const masked = entry(0, { mask: true });
    const events = trace(up(4), ioapic(4, masked), up(9), ioapic(9, masked));
    expect(new ScopeFilter({ gsis: [4], vectors: [] }).filter(events)).toEqual(events.slice(0, 2));
  });

  test("of a PIC's line keeps injections that may be its own", () => {
    const events = eventsOf("pic-edge");
    const kept = new ScopeFilter({ gsis: [4], vectors: [] }).filter(events);
    expect(kept.filter(({ event }) => event === "kvm_inj_virq").length).toBeGreaterThan(0);
    const others = new ScopeFilter({ gsis: [5], vectors: [] }).filter(events);
    expect(others).toEqual([]);
  });
});
