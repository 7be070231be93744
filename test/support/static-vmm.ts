/**
 * A VMM written with the library, put into a known state: `static-vmm [VMS]`. Prints one line of JSON with
 * the chips of each VM as bytes, and then does nothing.
 */

import { decodeLapic, encodeLapic } from "../../src/arch/x86/lapic/layout.ts";
import { applyPreset } from "../../src/arch/x86/presets.ts";
import { KvmMachine } from "../../src/kvm/kvm-machine.ts";
import type { ChipId } from "../../src/vm/chip.ts";

const CHIPS: readonly ChipId[] = ["pic1", "pic2", "ioapic", "lapic[0]", "lapic[1]"];

const vms = Array.from({ length: Number(process.argv[2] ?? 1) }, () => {
  const machine = new KvmMachine(2);
  applyPreset(machine, "ioapic");
  // Pin 4: an edge, delivered and pending in the local APIC. Pin 20: a level, so remote IRR is set too.
  machine.setIrqLine(4, 1);
  machine.setIrqLine(20, 1);
  // Vector 0x61 in service at vCPU 1.
  const lapic = decodeLapic(machine.readChip("lapic[1]"), 1);
  machine.writeChip({ id: "lapic[1]", bytes: encodeLapic({ ...lapic, isr: [0x61] }) });
  // A second edge on a masked PIC pin stays in its IRR.
  machine.setIrqLine(7, 1);
  return machine;
});
const chips = vms.map((machine) =>
  Object.fromEntries(CHIPS.map((id) => [id, Buffer.from(machine.readChip(id)).toString("hex")])),
);
console.log(JSON.stringify(chips));
process.stdin.on("end", () => process.exit()).resume();
