import { decodeIoapic, encodeIoapic } from "../../src/abi/x86/ioapic.ts";
import { decodeLapic } from "../../src/abi/x86/lapic.ts";
import { applyPreset } from "../../src/machine/presets.ts";
import type { Behaviour } from "../../src/model/behaviour.ts";
import { KvmMachine } from "../../src/sys/kvm-machine.ts";
import { GuestMachine } from "./guest.ts";

let probed: Behaviour | undefined;

/** How the kernel under test behaves where kernels differ, found out by experiment. */
export function probedBehaviour(): Behaviour {
  probed ??= { smm: takesSmi() };
  return probed;
}

function takesSmi(): boolean {
  const machine = new KvmMachine(1);
  try {
    const state = decodeIoapic(machine.readChip("ioapic"));
    Object.assign(state.redirtbl[20]!, { delivery_mode: "smi", mask: false });
    machine.writeChip({ id: "ioapic", bytes: encodeIoapic(state) });
    return machine.setIrqLine(20, 1) === 1;
  } finally {
    machine.close();
  }
}

/**
 * Whether a local APIC's interrupt stays in service until the guest ends it. On a host without hardware
 * virtualization (PVM) the kernel ends it itself as it enters an emulated guest.
 */
export function keepsLapicService(): boolean {
  const guest = new GuestMachine(1);
  try {
    applyPreset(guest, "ioapic");
    guest.setIrqLine(4, 1);
    guest.acknowledge();
    return decodeLapic(guest.readChip("lapic[0]"), 0).isr.length > 0;
  } finally {
    guest.close();
  }
}
