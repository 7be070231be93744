import { type NodeOf, number, pointer, structure, wide } from "../../registers/memory.ts";
import { IOAPIC_MEMORY } from "./ioapic/memory.ts";
import { PIC_MEMORY } from "./pic/memory.ts";

/** The PIT that KVM_CREATE_PIT2 makes (arch/x86/kvm/i8254.h). */
const PIT_MEMORY = structure("kvm_pit", {
  reinject: number("pit_state.reinject.counter"),
  pending: number("pit_state.pending.counter"),
  irq_ack: number("pit_state.irq_ack.counter"),
});

/** What `struct kvm_arch` has of a VM (arch/x86/include/asm/kvm_host.h). */
export const VM_MEMORY = structure("kvm_arch", {
  irqchip_mode: number("irqchip_mode"),
  pit: pointer(PIT_MEMORY, "vpit"),
  apicv_inhibits: wide("apicv_inhibit_reasons"),
  pic: pointer(PIC_MEMORY, "vpic"),
  ioapic: pointer(IOAPIC_MEMORY, "vioapic"),
  x2apic_format: number("x2apic_format"),
  exception_payload: number("exception_payload_enabled"),
  /** 1 before 6.11, which has no such field. */
  apic_bus_cycle_ns: wide("apic_bus_cycle_ns"),
});
export type VmRead = NodeOf<typeof VM_MEMORY>;
