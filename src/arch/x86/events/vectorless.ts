import { DELIVERY_MODES } from "../ioapic/layout.ts";

/**
 * The delivery modes that are not by vector (Intel SDM vol. 3, 12.6.1 and 12.11.2). Code 6, reserved in lines
 * and messages, is SIPI to KVM wherever it comes from.
 */
export type VectorlessMode = "smi" | "reserved-3" | "nmi" | "init" | "sipi" | "extint";

/**
 * The mode that is not by vector in bits 8 to 10 of a word, where message data and `dm` of a local APIC's events have
 * it; else `null`.
 */
export function modeOf(bits: number): VectorlessMode | null {
  const word = DELIVERY_MODES[(bits >> 8) & 7]!;
  const mode = word === "reserved-6" ? "sipi" : word;
  return mode === "fixed" || mode === "lowest-priority" ? null : mode;
}

/**
 * Why nothing comes of a mode, whatever KVM answers; `undefined` for those that a vCPU takes.
 *
 * Of code 3 KVM makes a wake-up call of its own, ExtINT it takes from PICs alone.
 */
export function whyNothing(mode: VectorlessMode): string | undefined {
  const isNothing = mode === "reserved-3" || mode === "extint";
  return isNothing ? `no interrupt comes of delivery mode ${mode}` : undefined;
}
