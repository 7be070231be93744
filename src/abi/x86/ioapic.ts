import { readU64, type U64, viewOf, writeU64 } from "../u64.ts";

/** `KVM_IOAPIC_NUM_PINS` of x86. */
export const IOAPIC_NUM_PINS = 24;
/** `KVM_IOAPIC_NUM_PINS` of ia64, which left Linux in 3.19: only ever met as saved bytes. */
export const IOAPIC_NUM_PINS_IA64 = 48;

/** Bytes before the redirection table: base_address, ioregsel, id, irr, pad. */
const HEADER_SIZE = 24;

/** Bytes of a `struct kvm_ioapic_state` with so many pins. */
export function ioapicStateSize(pins: number): number {
  return HEADER_SIZE + pins * 8;
}

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
export const DELIVERY_STATUSES = ["idle", "pending"] as const;
export const POLARITIES = ["high", "low"] as const;
export const TRIG_MODES = ["edge", "level"] as const;

/** One entry of the redirection table, fields named as in `union kvm_ioapic_redirect_entry`. */
export interface RedirectionEntry {
  vector: number;
  delivery_mode: (typeof DELIVERY_MODES)[number];
  dest_mode: (typeof DEST_MODES)[number];
  delivery_status: (typeof DELIVERY_STATUSES)[number];
  polarity: (typeof POLARITIES)[number];
  remote_irr: boolean;
  trig_mode: (typeof TRIG_MODES)[number];
  mask: boolean;
  /** 0 to 255; an APIC id in physical mode, a logical destination in logical mode. */
  dest_id: number;
  /** Bits 17 to 55, as a number of 39 bits. Left out when zero. */
  reserved?: number;
}

/** `struct kvm_ioapic_state`. `irr` has a bit for each pin. */
export interface IoapicState {
  base_address: U64;
  ioregsel: number;
  id: number;
  irr: number;
  /** Padding, which comes back as whoever set it left it. Left out when zero. */
  pad?: number;
  redirtbl: RedirectionEntry[];
}

/**
 * Decodes one redirection entry from its two halves.
 *
 * @param low bits 0 to 31. @param high bits 32 to 63.
 */
export function decodeRedirectionEntry(low: number, high: number): RedirectionEntry {
  const reserved = (high & 0x00ff_ffff) * 2 ** 15 + (low >>> 17);
  return {
    vector: low & 0xff,
    delivery_mode: DELIVERY_MODES[(low >>> 8) & 7]!,
    dest_mode: DEST_MODES[(low >>> 11) & 1]!,
    delivery_status: DELIVERY_STATUSES[(low >>> 12) & 1]!,
    polarity: POLARITIES[(low >>> 13) & 1]!,
    remote_irr: (low & (1 << 14)) !== 0,
    trig_mode: TRIG_MODES[(low >>> 15) & 1]!,
    mask: (low & (1 << 16)) !== 0,
    dest_id: high >>> 24,
    ...(reserved === 0 ? {} : { reserved }),
  };
}

/** Encodes one redirection entry into its two halves; the inverse of {@link decodeRedirectionEntry}. */
export function encodeRedirectionEntry(entry: RedirectionEntry): { low: number; high: number } {
  const reserved = entry.reserved ?? 0;
  const low =
    entry.vector |
    (DELIVERY_MODES.indexOf(entry.delivery_mode) << 8) |
    (DEST_MODES.indexOf(entry.dest_mode) << 11) |
    (DELIVERY_STATUSES.indexOf(entry.delivery_status) << 12) |
    (POLARITIES.indexOf(entry.polarity) << 13) |
    (Number(entry.remote_irr) << 14) |
    (TRIG_MODES.indexOf(entry.trig_mode) << 15) |
    (Number(entry.mask) << 16) |
    ((reserved % 2 ** 15) << 17);
  const high = (entry.dest_id << 24) | Math.floor(reserved / 2 ** 15);
  return { low: low >>> 0, high: high >>> 0 };
}

/**
 * Decodes a `struct kvm_ioapic_state`.
 *
 * @param bytes at least `ioapicStateSize(pins)` bytes; what follows is not looked at.
 * @param pins 24, or 48 for the ia64 layout.
 */
export function decodeIoapic(bytes: Uint8Array, pins: number = IOAPIC_NUM_PINS): IoapicState {
  const view = viewOf(bytes);
  const pad = view.getUint32(20, true);
  return {
    base_address: readU64(view, 0),
    ioregsel: view.getUint32(8, true),
    id: view.getUint32(12, true),
    irr: view.getUint32(16, true),
    ...(pad === 0 ? {} : { pad }),
    redirtbl: Array.from({ length: pins }, (_, pin) => {
      const offset = HEADER_SIZE + pin * 8;
      return decodeRedirectionEntry(view.getUint32(offset, true), view.getUint32(offset + 4, true));
    }),
  };
}

/** Encodes a `struct kvm_ioapic_state`, as long as its table; the exact inverse of {@link decodeIoapic}. */
export function encodeIoapic(state: IoapicState): Uint8Array {
  const bytes = new Uint8Array(ioapicStateSize(state.redirtbl.length));
  const view = viewOf(bytes);
  writeU64(view, 0, state.base_address);
  view.setUint32(8, state.ioregsel, true);
  view.setUint32(12, state.id, true);
  view.setUint32(16, state.irr, true);
  view.setUint32(20, state.pad ?? 0, true);
  state.redirtbl.forEach((entry, pin) => {
    const { low, high } = encodeRedirectionEntry(entry);
    view.setUint32(HEADER_SIZE + pin * 8, low, true);
    view.setUint32(HEADER_SIZE + pin * 8 + 4, high, true);
  });
  return bytes;
}
