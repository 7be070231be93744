import { viewOf } from "../../../abi/u64.ts";
import {
  ENTRY_SIZE,
  type IoapicState,
  ioapicOf,
  REDIRECTION_ENTRY,
  type RedirectionEntry,
} from "../../ioapic-layout.ts";

export {
  DELIVERY_MODES,
  DEST_MODES,
  type IoapicState,
  REDIRECTION_ENTRY,
  type RedirectionEntry,
  TRIG_MODES,
} from "../../ioapic-layout.ts";

/** `KVM_IOAPIC_NUM_PINS` of x86. */
export const IOAPIC_NUM_PINS = 24;

export const IOAPIC = ioapicOf(IOAPIC_NUM_PINS);

/** The layout with so many pins. */
function withPins(pins: number): typeof IOAPIC {
  return pins === IOAPIC_NUM_PINS ? IOAPIC : ioapicOf(pins);
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
