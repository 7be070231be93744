import type { Machine } from "../../vm/machine.ts";
import { decodeIoapic, encodeIoapic } from "./ioapic/layout.ts";
import { decodeLapic, encodeLapic, SVR_ENABLE_BIT } from "./lapic/layout.ts";
import { decodePic, encodePic, type PicState } from "./pic/layout.ts";

/** States to start a VM from, so that a pulse has something to arrive at. */
export const PRESETS = {
  reset: "as the kernel makes it: PICs unprogrammed, IOAPIC masked, local APICs software-disabled",
  pic: "as an OS with legacy PICs leaves it: vector bases 0x20 and 0x28, nothing masked",
  ioapic:
    "PICs masked, every IOAPIC pin unmasked with vector 0x30 + pin, 0-15 edge, 16-23 level, local APICs enabled",
  lapic: "local APICs enabled, the other chips as the kernel makes them",
} as const;

export type PresetName = keyof typeof PRESETS;

/** The first vector of the `ioapic` preset: pin n has this plus n. */
export const PRESET_IOAPIC_VECTOR = 0x30;
/** Pins of the ISA interrupts, which are edge-triggered; those above are PCI's, level-triggered. */
const ISA_PINS = 16;

/** What a preset needs of a machine. */
export type PresetMachine = Pick<Machine, "vcpus" | "readChip" | "writeChip">;

/** Puts a fresh VM into the state of a preset, with KVM_SET_IRQCHIP and KVM_SET_LAPIC alone. */
export function applyPreset(machine: PresetMachine, preset: PresetName): void {
  switch (preset) {
    case "reset":
      return;
    case "pic":
      changePics(machine, { imr: 0 });
      return;
    case "ioapic":
      changePics(machine, { imr: 0xff });
      enableLapics(machine);
      unmaskIoapic(machine);
      return;
    case "lapic":
      enableLapics(machine);
  }
}

function enableLapics(machine: PresetMachine): void {
  for (let vcpu = 0; vcpu < machine.vcpus; vcpu++) {
    const lapic = decodeLapic(machine.readChip(`lapic[${vcpu}]`), vcpu);
    lapic.svr |= 1 << SVR_ENABLE_BIT;
    machine.writeChip({ id: `lapic[${vcpu}]`, bytes: encodeLapic(lapic) });
  }
}

/** The state that ICW1 to ICW4 of a PC's BIOS or OS leave: bases, ELCR as it was, all interrupts by `change`. */
function changePics(machine: PresetMachine, change: Partial<PicState>): void {
  for (const [id, irq_base] of [
    ["pic1", 0x20],
    ["pic2", 0x28],
  ] as const) {
    const state = decodePic(machine.readChip(id));
    machine.writeChip({ id, bytes: encodePic({ ...state, irq_base, ...change }) });
  }
}

function unmaskIoapic(machine: PresetMachine): void {
  const state = decodeIoapic(machine.readChip("ioapic"));
  const redirtbl = state.redirtbl.map((entry, pin) => ({
    ...entry,
    vector: PRESET_IOAPIC_VECTOR + pin,
    trig_mode: pin < ISA_PINS ? ("edge" as const) : ("level" as const),
    mask: false,
  }));
  machine.writeChip({ id: "ioapic", bytes: encodeIoapic({ ...state, redirtbl }) });
}
