import type { KernelMemory } from "../../arch/arch.ts";
import {
  address,
  chainsOf,
  inside,
  listOf,
  type MemoryField,
  moving,
  type NodeOf,
  number,
  pointer,
  pointersOf,
  structure,
  wide,
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

/** An entry of the routing table (include/linux/kvm_host.h); of the union, what its type says counts. */
const ROUTE = structure("kvm_kernel_irq_routing_entry", {
  gsi: number("gsi"),
  /** `KVM_IRQ_ROUTING_*`. */
  type: number("type"),
  irqchip: number("irqchip.irqchip"),
  pin: number("irqchip.pin"),
  address: number("msi.address_lo"),
  address_hi: number("msi.address_hi"),
  data: number("msi.data"),
  sint_vcpu: number("hv_sint.vcpu"),
  sint: number("hv_sint.sint"),
  xen_vcpu: number("xen_evtchn.vcpu_id", "xen_evtchn.vcpu"),
  xen_port: number("xen_evtchn.port"),
  xen_priority: number("xen_evtchn.priority"),
});
export type RouteRead = NodeOf<typeof ROUTE>;

const ROUTING = structure("kvm_irq_routing_table", {
  chains: chainsOf(ROUTE, "link", "map", "nr_rt_entries"),
});

/** fs/eventfd.c. */
const EVENTFD = structure("eventfd_ctx", { id: number("id"), count: moving(wide("count")) });
export type EventfdRead = NodeOf<typeof EVENTFD>;

/** include/linux/kvm_irqfd.h. */
const IRQFD = structure("kvm_kernel_irqfd", {
  gsi: number("gsi"),
  eventfd: pointer(EVENTFD, "eventfd"),
  resample: pointer(EVENTFD, "resamplefd"),
  entry: inside(ROUTE, "irq_entry"),
  producer: address("producer"),
});
export type IrqfdRead = NodeOf<typeof IRQFD>;

/**
 * `struct kvm` (include/linux/kvm_host.h), as far as all architectures have it, and what one has below.
 *
 * @param irqfds whether they are looked for.
 */
export function vmStructure(memory: KernelMemory, vendor: string | undefined, irqfds: boolean) {
  const module = memory.vendors[vendor ?? ""];
  const vcpu = structure("kvm_vcpu", {
    ...vcpuFields,
    arch: inside(memory.vcpu, "arch"),
    ...(module === undefined ? {} : { vendor: module as MemoryField<unknown> }),
  });
  return structure("kvm", {
    arch: inside(memory.vm, "arch"),
    routing: pointer(ROUTING, "irq_routing"),
    irqfds: listOf(IRQFD, "list", ...(irqfds ? ["irqfds.items"] : [])),
    vcpus: pointersOf(vcpu, "vcpu_array", "vcpus"),
  });
}
export type VmStructure = ReturnType<typeof vmStructure>;
