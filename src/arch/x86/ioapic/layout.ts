import { viewOf } from "../../../abi/u64.ts";
import {
  bits,
  bitwise,
  flag,
  list,
  optional,
  type RecordOf,
  record,
  u32,
  u64,
  word,
} from "../../../registers/field.ts";
import { type Struct, struct } from "../../../registers/struct.ts";

/** `KVM_IOAPIC_NUM_PINS` of x86. */
export const IOAPIC_NUM_PINS = 24;
/** `KVM_IOAPIC_NUM_PINS` of ia64, which left Linux in 3.19: only ever met as saved bytes. */
export const IOAPIC_NUM_PINS_IA64 = 48;

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
  vector: bits(0, 8),
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
const ENTRY_SIZE = 8;

/** One entry of the redirection table. `reserved`, bits 17 to 55, is left out when zero. */
export type RedirectionEntry = ReturnType<typeof REDIRECTION_ENTRY.read>;

const HEADER_SIZE = 24;

function ioapicOf(pins: number) {
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

/** `struct kvm_ioapic_state` of `<asm/kvm.h>`. */
export const IOAPIC = ioapicOf(IOAPIC_NUM_PINS);
/** The same of ia64's header. */
export const IOSAPIC = ioapicOf(IOAPIC_NUM_PINS_IA64);

/** `struct kvm_ioapic_state`, decoded. `pad` is left out when zero. */
export type IoapicState = RecordOf<typeof IOAPIC.fields>;

function withPins(pins: number): Struct<typeof IOAPIC.fields> {
  return pins === IOAPIC_NUM_PINS ? IOAPIC : pins === IOAPIC_NUM_PINS_IA64 ? IOSAPIC : ioapicOf(pins);
}

/** Bytes of a `struct kvm_ioapic_state` with so many pins. */
export function ioapicStateSize(pins: number): number {
  return withPins(pins).size;
}

/**
 * Decodes a `struct kvm_ioapic_state`.
 *
 * @param bytes at least `ioapicStateSize(pins)` bytes; what follows is not looked at.
 * @param pins 24, or 48 for the ia64 layout.
 */
export function decodeIoapic(bytes: Uint8Array, pins: number = IOAPIC_NUM_PINS): IoapicState {
  return withPins(pins).decode(bytes);
}

/** Encodes a `struct kvm_ioapic_state`, as long as its table; the exact inverse of {@link decodeIoapic}. */
export function encodeIoapic(state: IoapicState): Uint8Array {
  return withPins(state.redirtbl.length).encode(state);
}

/**
 * Decodes one redirection entry from its two halves.
 *
 * @param low bits 0 to 31. @param high bits 32 to 63.
 */
export function decodeRedirectionEntry(low: number, high: number): RedirectionEntry {
  return REDIRECTION_ENTRY.read(viewOf(new Uint8Array(Uint32Array.of(low, high).buffer)), 0);
}

/** Encodes one redirection entry into its two halves; the inverse of {@link decodeRedirectionEntry}. */
export function encodeRedirectionEntry(entry: RedirectionEntry): { low: number; high: number } {
  const view = new DataView(new ArrayBuffer(ENTRY_SIZE));
  REDIRECTION_ENTRY.write(view, 0, entry);
  return { low: view.getUint32(0, true), high: view.getUint32(4, true) };
}
