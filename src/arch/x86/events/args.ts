import { numberArg, type TraceEvent, wordsArg } from "../../../tracefs/event.ts";
import { decodeRedirectionEntry, type RedirectionEntry } from "../ioapic/layout.ts";

/** The redirection entry that `kvm_ioapic_set_irq` and `kvm_ioapic_delayed_eoi_inj` carry as `e`. */
export function redirectionOf(event: TraceEvent): RedirectionEntry {
  const [low, high] = wordsArg(event, "e");
  return decodeRedirectionEntry(low, high);
}

/** Whether the entry that a `kvm_ioapic_set_irq` carries is masked: bit 16 (82093AA datasheet, 3.2.4). */
export function isMasked(event: TraceEvent): boolean {
  return ((wordsArg(event, "e")[0] >> 16) & 1) === 1;
}

/** The message of a `kvm_msi_set_irq`; of the data KVM's own 32 bits. */
export function messageOf(event: TraceEvent): { address: bigint; data: number } {
  const [low, high] = wordsArg(event, "address");
  return { address: (BigInt(high) << 32n) | BigInt(low), data: wordsArg(event, "data")[0] };
}

/**
 * The GSI that a PIC pin has by default.
 *
 * @param chip 0 for the master, 1 for the slave. @param pin 0 to 7; `kvm_ack_irq` counts the slave's from 8.
 */
export function gsiOfPicPin(chip: number, pin: number): number {
  return chip * 8 + (pin & 7);
}

/** `irqchip` of `kvm_ack_irq`: KVM_IRQCHIP_PIC_MASTER, _PIC_SLAVE, _IOAPIC. */
const IRQCHIP_IOAPIC = 2;

/** Whether a `kvm_ack_irq` comes from the IOAPIC, not from a PIC. */
export function isIoapicAck(event: TraceEvent): boolean {
  return numberArg(event, "irqchip") === IRQCHIP_IOAPIC;
}

/** The GSI that the pin of a `kvm_ack_irq` has by default. */
export function gsiOfAck(event: TraceEvent): number {
  const pin = numberArg(event, "pin");
  return isIoapicAck(event) ? pin : gsiOfPicPin(numberArg(event, "irqchip"), pin);
}

/** The APIC id of `kvm_apic_accept_irq`, `kvm_eoi` and their like. */
export function apicOf(event: TraceEvent): number {
  return numberArg(event, "apicid");
}
