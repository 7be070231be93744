import type { RedirectionEntry } from "../../src/arch/x86/ioapic/layout.ts";
import type { LapicState } from "../../src/arch/x86/lapic/layout.ts";
import type { Behaviour } from "../../src/arch/x86/model/behaviour.ts";
import { applyPreset } from "../../src/arch/x86/presets.ts";
import { KvmMachine } from "../../src/kvm/kvm-machine.ts";
import type { Machine } from "../../src/vm/machine.ts";
import { lapic, pendingNmis, pulse, setEntry, setLapic } from "./edit.ts";
import { GuestMachine } from "./guest.ts";

let probed: Behaviour | undefined;

/** How the kernel under test behaves where kernels differ, found out by experiment. */
export function probedBehaviour(): Behaviour {
  probed ??= { smm: takesSmi(), exactMap: hasExactMap(), countsNmis: countsNmis() };
  return probed;
}

function takesSmi(): boolean {
  return onPin20(1, { delivery_mode: "smi" }, (vm) => pulse(vm, 20)) === 1;
}

/** Two local APICs of one id both get what is sent to it, where the map is exact. */
function hasExactMap(): boolean {
  return onPin20(2, { dest_id: 7 }, (vm) => pulse(vm, 20), { id: 7 * 2 ** 24 }) === 2;
}

function countsNmis(): boolean {
  const twice = (vm: Machine) => [pulse(vm, 20), pulse(vm, 20), pendingNmis(vm)][2];
  return onPin20(1, { delivery_mode: "nmi" }, twice) === 2;
}

/** An experiment with a fresh VM whose local APICs and pin 20 are set. */
function onPin20<T>(
  vcpus: number,
  entry: Partial<RedirectionEntry>,
  experiment: (machine: Machine) => T,
  everyLapic: Partial<LapicState> = {},
): T {
  const machine = new KvmMachine(vcpus);
  try {
    for (let vcpu = 0; vcpu < vcpus; vcpu++) setLapic(machine, vcpu, everyLapic);
    setEntry(machine, 20, entry);
    return experiment(machine);
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
    return lapic(guest).isr.length > 0;
  } finally {
    guest.close();
  }
}
