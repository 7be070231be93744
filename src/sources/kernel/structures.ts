import type { KernelMemory } from "../../arch/arch.ts";
import {
  address,
  inside,
  type MemoryField,
  moving,
  number,
  pointer,
  pointersOf,
  structure,
} from "../../registers/memory.ts";

/** `struct pid` of the thread that was last in KVM_RUN. */
const PID = structure("pid", { nr: moving(number("numbers[0].nr")) });

const vcpuFields = {
  id: number("vcpu_id"),
  /** `OUTSIDE_GUEST_MODE` is 0. */
  mode: moving(number("mode")),
  /** The thread in an ioctl of it: KVM_RUN, but for moments. */
  owner: moving(address("mutex.owner.counter")),
  pid: moving(pointer(PID, "pid")),
};

/** `struct kvm` (include/linux/kvm_host.h), as far as all architectures have it, and what one has below. */
export function vmStructure(memory: KernelMemory, vendor: string | undefined) {
  const module = memory.vendors[vendor ?? ""];
  const vcpu = structure("kvm_vcpu", {
    ...vcpuFields,
    arch: inside(memory.vcpu, "arch"),
    ...(module === undefined ? {} : { vendor: module as MemoryField<unknown> }),
  });
  return structure("kvm", {
    arch: inside(memory.vm, "arch"),
    vcpus: pointersOf(vcpu, "vcpu_array", "vcpus"),
  });
}
export type VmStructure = ReturnType<typeof vmStructure>;
