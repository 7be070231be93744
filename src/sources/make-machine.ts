import { KvmIrqError } from "../abi/error.ts";
import { HOST_ARCH } from "../arch/arches.ts";
import type { GuestProgram } from "../vm/guest.ts";
import type { Backend, Irqchip, Machine } from "../vm/machine.ts";

export interface MachineOptions {
  /** What is to run on vCPU 0; nothing when not given. */
  guest?: GuestProgram | undefined;
  /** Which controllers are in the kernel; all when not given. */
  irqchip?: Irqchip | undefined;
}

/** @throws KvmIrqError `unsupported` for what the software model can't be made with. */
export function checkModel({ guest, irqchip }: MachineOptions): void {
  if (irqchip === "split") {
    throw new KvmIrqError("unsupported", "the software model has no split irqchip", {
      hint: "use the kernel's KVM: `--backend kvm`",
    });
  }
  if (guest !== undefined) {
    throw new KvmIrqError("unsupported", "the software model runs no guest", {
      hint: "its vCPUs never run; use the kernel's KVM: `--backend kvm`",
    });
  }
}

/**
 * Makes a VM in this process. Loads the FFI only for the real KVM.
 *
 * @throws KvmIrqError `unsupported` for a guest or split irqchip on the model; when KVM can't be used here.
 */
export async function makeMachine(
  backend: Backend,
  vcpus: number,
  { guest, irqchip = "full" }: MachineOptions = {},
): Promise<Machine> {
  if (backend === "model") {
    checkModel({ guest, irqchip });
    const { make } = await HOST_ARCH.model!();
    return make(vcpus);
  }
  const { KvmMachine } = await import("../kvm/kvm-machine.ts");
  const machine = new KvmMachine(vcpus, irqchip);
  try {
    if (guest !== undefined) await machine.runGuest(guest);
    return machine;
  } catch (error) {
    machine.close();
    throw error;
  }
}
