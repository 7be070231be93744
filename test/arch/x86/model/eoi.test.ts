import { afterEach, describe, expect, it } from "vitest";
import type { LapicState } from "../../../../src/arch/x86/lapic/layout.ts";
import { applyPreset } from "../../../../src/arch/x86/presets.ts";
import { ioapic, lapic, pulse, setEntry, setLapic } from "../../../support/edit.ts";
import { RUNNING_MACHINES } from "../../../support/machines.ts";

/** Level-triggered, with vector 0x44, in the preset. */
const PIN = 20;
const EDGE = { address: 0xfee0_0000, data: 0x44 };

describe.each(RUNNING_MACHINES)("the EOI of a level pin's vector on $name", ({ make, skip }) => {
  let machine: ReturnType<typeof make> | undefined;
  afterEach(() => {
    machine?.close();
    machine = undefined;
  });
  const test = it.skipIf(skip);
  const prepared = (vcpus = 1) => {
    machine = make(vcpus);
    applyPreset(machine, "ioapic");
    return machine;
  };
  const served = { isr: [0x44], tmr: [0x44] };
  /** A vector was taken, and the state that is set next lacks it: PPR is then that of what was. */
  const withServiceForgotten = (change: Partial<LapicState> = {}) => {
    const vm = prepared();
    vm.signalMsi(EDGE);
    expect(vm.acknowledge()).toBe(0x44);
    setLapic(vm, 0, { isr: [], ...change });
    return vm;
  };

  test("clears remote IRR", () => {
    const vm = prepared();
    setEntry(vm, PIN, { remote_irr: true });
    setLapic(vm, 0, served);
    vm.eoi();
    expect(ioapic(vm).redirtbl[PIN]!.remote_irr).toBe(false);
  });

  test("leaves remote IRR set when TMR lacks the vector", () => {
    const vm = prepared();
    setEntry(vm, PIN, { remote_irr: true });
    setLapic(vm, 0, { ...served, tmr: [] });
    vm.eoi();
    expect(ioapic(vm).redirtbl[PIN]!.remote_irr).toBe(true);
  });

  test("leaves remote IRR set when an edge of the vector came before it", () => {
    const vm = prepared();
    setEntry(vm, PIN, { remote_irr: true });
    setLapic(vm, 0, served);
    vm.signalMsi(EDGE);
    vm.eoi();
    expect(ioapic(vm).redirtbl[PIN]!.remote_irr).toBe(true);
  });

  test("leaves remote IRR set with directed EOI", () => {
    const vm = prepared();
    setEntry(vm, PIN, { remote_irr: true });
    setLapic(vm, 0, { ...served, svr: 0x11ff });
    vm.eoi();
    expect(ioapic(vm).redirtbl[PIN]!.remote_irr).toBe(true);
  });

  test("clears remote IRR of every pin that sends the vector, wherever its destination is", () => {
    const vm = prepared(2);
    setEntry(vm, PIN, { remote_irr: true });
    setEntry(vm, PIN + 1, { vector: 0x44, dest_id: 1, remote_irr: true });
    setLapic(vm, 0, served);
    vm.eoi();
    const { redirtbl } = ioapic(vm);
    expect([PIN, PIN + 1].map((pin) => redirtbl[pin]!.remote_irr)).toEqual([false, false]);
  });

  test("counts for the RTC's pin, with directed EOI as well", () => {
    const vm = prepared();
    setLapic(vm, 0, { svr: 0x11ff });
    for (let tick = 0; tick < 2; tick++) {
      expect(pulse(vm, 8)).toBe(1);
      expect(vm.acknowledge()).toBe(0x38);
      vm.eoi();
    }
  });

  test("has PPR computed again, with nothing in service too", () => {
    const vm = withServiceForgotten();
    vm.eoi();
    expect(lapic(vm).ppr).toBe(0);
  });

  // fast-check's seed 544749767 on Linux 6.12 with kvm-amd: the PIC's EOI was what the CPU ran next.
  test("is not the only thing that has PPR computed again: a PIC's EOI needs a CPU that runs as well", () => {
    const vm = withServiceForgotten({ svr: 0 });
    vm.eoiPic("pic1", { command: "non-specific" });
    expect(lapic(vm).ppr).toBe(0);
  });

  test("is not the only thing that has PPR computed again: so does an INTA of the PIC", () => {
    const vm = withServiceForgotten();
    applyPreset(vm, "pic");
    pulse(vm, 4);
    expect(vm.acknowledge()).toBe(0x24);
    expect(lapic(vm).ppr).toBe(0);
  });
});
