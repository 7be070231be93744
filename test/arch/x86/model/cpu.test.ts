import { describe, expect, it } from "vitest";
import { ModelMachine } from "../../../../src/arch/x86/model/machine.ts";
import { applyPreset, type PresetName } from "../../../../src/arch/x86/presets.ts";
import {
  ioapic,
  lapic,
  pendingNmis,
  pic,
  pulse,
  setEntry,
  setIoapic,
  setLapic,
  setPic,
} from "../../../support/edit.ts";

/** What the CPU does: the model's part beyond ioctls. */
function modelWith(preset: PresetName, vcpus = 1): ModelMachine {
  const machine = new ModelMachine(vcpus);
  applyPreset(machine, preset);
  return machine;
}

describe("INTA through the PICs", () => {
  it("takes the highest request, and names it by the chip's base", () => {
    const machine = modelWith("pic");
    for (const gsi of [9, 4, 1]) pulse(machine, gsi);
    const taken = [0, 1, 2].map(() => {
      const vector = machine.acknowledge();
      machine.eoiPic("pic1");
      machine.eoiPic("pic2");
      return vector;
    });
    expect(taken).toEqual([0x21, 0x29, 0x24]);
    expect(machine.acknowledge()).toBeUndefined();
  });

  it("puts an edge from IRR into ISR, and keeps a level in IRR", () => {
    const machine = modelWith("pic");
    setPic(machine, "pic1", { elcr: 0x20 });
    machine.setIrqLine(5, 1);
    machine.acknowledge();
    expect(pic(machine, "pic1")).toMatchObject({ irr: 0x20, isr: 0x20 });
    machine.eoiPic("pic1");
    pulse(machine, 4);
    machine.setIrqLine(5, 0);
    machine.acknowledge();
    expect(pic(machine, "pic1")).toMatchObject({ irr: 0, isr: 0x10 });
  });

  it("is held back by a higher one in service, until its EOI", () => {
    const machine = modelWith("pic");
    pulse(machine, 1);
    machine.acknowledge();
    pulse(machine, 4);
    expect(machine.acknowledge()).toBeUndefined();
    machine.eoiPic("pic1");
    expect(machine.acknowledge()).toBe(0x24);
  });

  it("lets a second slave interrupt in with special fully nested mode", () => {
    const machine = modelWith("pic");
    setPic(machine, "pic1", { special_fully_nested_mode: 1 });
    pulse(machine, 12);
    expect(machine.acknowledge()).toBe(0x2c);
    pulse(machine, 9);
    expect(machine.acknowledge()).toBe(0x29);
  });

  it("ends at once with automatic EOI, and rotates when told", () => {
    const machine = modelWith("pic");
    setPic(machine, "pic1", { auto_eoi: 1, rotate_on_auto_eoi: 1 });
    pulse(machine, 4);
    machine.acknowledge();
    expect(pic(machine, "pic1")).toMatchObject({ isr: 0, priority_add: 5 });
  });

  it("answers input 7 of the slave when its request has gone", () => {
    const machine = modelWith("pic");
    setPic(machine, "pic1", { irr: 4 });
    expect(machine.acknowledge()).toBe(0x2f);
  });

  const eois: [what: string, eoi: Parameters<ModelMachine["eoiPic"]>[1], isr: number, first: number][] = [
    ["a non-specific EOI ends the highest", { command: "non-specific" }, 0x40, 0],
    ["a specific EOI ends the one it names", { command: "specific", level: 6 }, 0x08, 0],
    ["a rotating EOI makes the one it ends the lowest", { command: "non-specific", rotate: true }, 0x40, 4],
    ["a specific one rotates too", { command: "specific", level: 6, rotate: true }, 0x08, 7],
  ];
  it.each(eois)("%s", (_, eoi, isr, first) => {
    const machine = modelWith("pic");
    setPic(machine, "pic1", { isr: 0x48 });
    machine.eoiPic("pic1", eoi);
    expect(pic(machine, "pic1")).toMatchObject({ isr, priority_add: first });
  });

  it("needs LINT0 unmasked and in ExtINT mode", () => {
    const machine = modelWith("pic", 2);
    pulse(machine, 4);
    expect(machine.acknowledge(1)).toBeUndefined();
    expect(machine.acknowledge(0)).toBe(0x24);
  });
});

describe("INTA through a local APIC", () => {
  it("takes the highest vector whose class is above PPR's", () => {
    const machine = modelWith("ioapic");
    for (const gsi of [4, 5, 17]) machine.setIrqLine(gsi, 1);
    expect(machine.acknowledge()).toBe(0x41);
    expect(lapic(machine)).toMatchObject({ irr: [0x34, 0x35], isr: [0x41], ppr: 0x40 });
    expect(machine.acknowledge()).toBeUndefined();
    expect(machine.eoi()).toBe(0x41);
  });

  it("takes nothing of TPR's class or below", () => {
    const machine = modelWith("ioapic");
    machine.setIrqLine(4, 1);
    setLapic(machine, 0, { tpr: 0x30 });
    expect(machine.acknowledge()).toBeUndefined();
    setLapic(machine, 0, { tpr: 0x2f });
    expect(machine.acknowledge()).toBe(0x34);
  });

  it("an EOI with nothing in service ends nothing", () => {
    expect(modelWith("ioapic").eoi()).toBeUndefined();
  });
});

describe("EOI at the IOAPIC", () => {
  it("clears remote IRR, and delivers a level line that is still up again", () => {
    const machine = modelWith("ioapic");
    machine.setIrqLine(17, 1);
    machine.acknowledge();
    machine.eoi();
    expect(ioapic(machine).redirtbl[17]).toMatchObject({ remote_irr: true });
    expect(lapic(machine).irr).toEqual([0x41]);
    machine.setIrqLine(17, 0);
    machine.acknowledge();
    machine.eoi();
    expect(ioapic(machine).redirtbl[17]).toMatchObject({ remote_irr: false });
    expect(lapic(machine).irr).toEqual([]);
  });

  it("delivers nothing again through an entry that has been masked since", () => {
    const machine = modelWith("ioapic");
    machine.setIrqLine(17, 1);
    machine.acknowledge();
    setEntry(machine, 17, { mask: true });
    machine.eoi();
    expect(lapic(machine).irr).toEqual([]);
    expect(ioapic(machine)).toMatchObject({ irr: 1 << 17 });
  });

  it("a level interrupt is not lost over snapshot and restore into a new VM", () => {
    const machine = modelWith("ioapic");
    machine.setIrqLine(17, 1);
    machine.acknowledge();
    const restored = new ModelMachine(1);
    for (const id of ["pic1", "pic2", "lapic[0]", "ioapic"] as const) {
      restored.writeChip({ id, bytes: machine.readChip(id) });
    }
    expect(restored.eoi()).toBe(0x41);
    expect(restored.acknowledge()).toBe(0x41);
  });

  it("the RTC's pin takes the next tick once every CPU has ended the last", () => {
    const machine = modelWith("ioapic", 2);
    setEntry(machine, 8, { dest_id: 0xff });
    expect(pulse(machine, 8)).toBe(2);
    for (const vcpu of [0, 1]) {
      expect(pulse(machine, 8)).toBe(0);
      machine.acknowledge(vcpu);
      machine.eoi(vcpu);
    }
    expect(pulse(machine, 8)).toBe(2);
  });
});

describe("options of the model", () => {
  it("without system management mode, an SMI is dropped", () => {
    const entry = { delivery_mode: "smi", dest_id: 0xff } as const;
    const [usual, without] = [{}, { smm: false }].map((behaviour) => {
      const machine = new ModelMachine(1, behaviour);
      setEntry(machine, 20, entry);
      return pulse(machine, 20);
    });
    expect([usual, without]).toEqual([1, 0]);
  });

  it("an inexact map finds the first of two APICs with one id", () => {
    const machine = new ModelMachine(2, { exactMap: false });
    for (const vcpu of [0, 1]) setLapic(machine, vcpu, { id: 7 * 2 ** 24 });
    setEntry(machine, 20, { vector: 0x34, dest_id: 7 });
    expect(pulse(machine, 20)).toBe(1);
    expect([lapic(machine, 0).irr, lapic(machine, 1).irr]).toEqual([[0x34], []]);
  });

  it.each([
    ["counted up to two", {}, 2],
    ["said to be there", { countsNmis: false }, 1],
  ])("waiting NMIs are %s", (_, behaviour, pending) => {
    const machine = new ModelMachine(1, behaviour);
    setLapic(machine, 0);
    setEntry(machine, 20, { delivery_mode: "nmi" });
    for (let count = 0; count < 3; count++) pulse(machine, 20);
    expect(pendingNmis(machine)).toBe(pending);
  });

  it("has no more vCPUs than 8-bit destinations reach", () => {
    expect(() => new ModelMachine(256)).toThrow("0 to 255 vCPUs, not 256");
    expect(() => new ModelMachine(-1)).toThrow("not -1");
    expect(() => new ModelMachine(1.5)).toThrow("not 1.5");
  });

  it("keeps IRR bits within its pins", () => {
    const machine = new ModelMachine(1);
    setIoapic(machine, { irr: 0xff10_0000 });
    expect(ioapic(machine).irr).toBe(0x10_0000);
  });
});
