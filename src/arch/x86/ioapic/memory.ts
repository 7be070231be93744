import { viewOf } from "../../../abi/u64.ts";
import { type NodeOf, number, packed, structure } from "../../../registers/memory.ts";

/** The IOAPIC as KVM keeps it (arch/x86/kvm/ioapic.h). It begins as `struct kvm_ioapic_state` does. */
export const IOAPIC_MEMORY = structure("kvm_ioapic", {
  state: packed("base_address", "ioregsel", "id", "irr", "pad", "redirtbl"),
  /** For each pin a bit for each source that holds it up. */
  irq_states: packed("irq_states"),
  /** Edges that were delivered, and are in `irr` only for KVM's own sake. */
  irr_delivered: number("irr_delivered"),
  /** How many vCPUs the last RTC interrupt (GSI 8) waits for. */
  rtc_pending_eoi: number("rtc_status.pending_eoi"),
  rtc_vcpus: packed("rtc_status.dest_map.map"),
});

const IRR = 16;

/** What KVM_GET_IRQCHIP gives: `irr` without the edges that were delivered (kvm_get_ioapic, arch/x86/kvm/ioapic.c). */
export function ioapicImage({ state, irr_delivered = 0 }: NodeOf<typeof IOAPIC_MEMORY>) {
  const bytes = state && Uint8Array.from(state);
  if (bytes !== undefined) {
    const view = viewOf(bytes);
    view.setUint32(IRR, (view.getUint32(IRR, true) & ~irr_delivered) >>> 0, true);
  }
  return bytes;
}
