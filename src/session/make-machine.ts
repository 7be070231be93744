import { KvmIrqError } from "../abi/error.ts";
import type { GuestProgram } from "../abi/guest.ts";
import type { Backend, Machine } from "../machine/machine.ts";

/**
 * Makes a VM in this process. Loads the FFI only for the real KVM.
 *
 * @param guest what is to run on vCPU 0; nothing when not given.
 * @throws KvmIrqError `unsupported` for a guest on the model; when KVM can't be used here.
 */
export async function makeMachine(
  backend: Backend,
  vcpus: number,
  guest?: GuestProgram | undefined,
): Promise<Machine> {
  if (backend === "model") {
    if (guest !== undefined) {
      throw new KvmIrqError("unsupported", "the software model runs no guest", {
        hint: "its vCPUs never run; use the kernel's KVM: `--backend kvm`",
      });
    }
    const { ModelMachine } = await import("../model/machine.ts");
    return new ModelMachine(vcpus);
  }
  const { KvmMachine } = await import("../sys/kvm-machine.ts");
  const machine = new KvmMachine(vcpus);
  try {
    if (guest !== undefined) await machine.runGuest(guest);
    return machine;
  } catch (error) {
    machine.close();
    throw error;
  }
}
