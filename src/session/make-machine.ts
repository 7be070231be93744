import type { Backend, Machine } from "../machine/machine.ts";

/**
 * Makes a VM in this process. Loads the FFI only for the real KVM.
 *
 * @throws KvmIrqError when KVM can't be used here.
 */
export async function makeMachine(backend: Backend, vcpus: number): Promise<Machine> {
  if (backend === "model") {
    const { ModelMachine } = await import("../model/machine.ts");
    return new ModelMachine(vcpus);
  }
  const { KvmMachine } = await import("../sys/kvm-machine.ts");
  return new KvmMachine(vcpus);
}
