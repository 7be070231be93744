import type { Vector } from "../abi/numbers.ts";
import {
  bits,
  bitwise,
  type Field,
  flag,
  list,
  optional,
  type RecordOf,
  record,
  u32,
  u64,
  word,
} from "../registers/field.ts";
import { struct } from "../registers/struct.ts";

/** The 82093AA's registers, which x86's IOAPIC and ia64's IOSAPIC have, with as many pins as each has. */

/**
 * Delivery modes by their three-bit code (82093AA data sheet, 3.2.4; Intel SDM vol. 3, 12.6.1).
 * Two codes are reserved; they have words of their own so that every entry can be written back.
 */
export const DELIVERY_MODES = [
  "fixed",
  "lowest-priority",
  "smi",
  "reserved-3",
  "nmi",
  "init",
  "reserved-6",
  "extint",
] as const;
export const DEST_MODES = ["physical", "logical"] as const;
export const TRIG_MODES = ["edge", "level"] as const;

/** One entry of the redirection table: `union kvm_ioapic_redirect_entry`, 64 bits. */
export const REDIRECTION_ENTRY = record(0, {
  vector: bits(0, 8) as Field<Vector>,
  delivery_mode: word(bits(8, 3), DELIVERY_MODES),
  dest_mode: word(bits(11, 1), DEST_MODES),
  delivery_status: word(bits(12, 1), ["idle", "pending"]),
  polarity: word(bits(13, 1), ["high", "low"]),
  remote_irr: flag(14),
  trig_mode: word(bits(15, 1), TRIG_MODES),
  mask: flag(16),
  /** An APIC id in physical mode, a logical destination in logical mode. */
  dest_id: bits(56, 8),
  reserved: optional(bits(17, 39)),
});
export const ENTRY_SIZE = 8;

/** One entry of the redirection table. `reserved`, bits 17 to 55, is left out when zero. */
export type RedirectionEntry = ReturnType<typeof REDIRECTION_ENTRY.read>;

const HEADER_SIZE = 24;

/**
 * `struct kvm_ioapic_state` of `<asm/kvm.h>`.
 *
 * @param pins `KVM_IOAPIC_NUM_PINS`.
 */
export function ioapicOf(pins: number) {
  return struct("kvm_ioapic_state", HEADER_SIZE + pins * ENTRY_SIZE, {
    base_address: u64(0),
    ioregsel: u32(8),
    id: u32(12),
    /** A bit for each pin. */
    irr: bitwise(u32(16)),
    /** Padding, which comes back as whoever set it left it. */
    pad: optional(u32(20)),
    redirtbl: list(HEADER_SIZE, pins, ENTRY_SIZE, REDIRECTION_ENTRY),
  });
}

/** `struct kvm_ioapic_state`, decoded. `pad` is left out when zero. */
export type IoapicState = RecordOf<ReturnType<typeof ioapicOf>["fields"]>;
