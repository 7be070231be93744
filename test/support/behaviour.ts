import { decodeIoapic, encodeIoapic } from "../../src/abi/x86/ioapic.ts";
import type { Behaviour } from "../../src/model/behaviour.ts";
import { KvmMachine } from "../../src/sys/kvm-machine.ts";

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
