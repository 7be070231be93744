import { DELIVERY_MODES } from "../../arch/x86/ioapic/layout.ts";
import { numberArg, type TraceEvent } from "../event.ts";
import { messageOf } from "./args.ts";

/**
 * The delivery modes that are not by vector (Intel SDM vol. 3, 12.6.1 and 12.11.2). Code 6, reserved in lines
 * and messages, is SIPI to KVM wherever it comes from.
 */
export type VectorlessMode = "smi" | "reserved-3" | "nmi" | "init" | "sipi" | "extint";

/**
 * How a `kvm_msi_set_irq`, `kvm_apic_accept_irq` or `kvm_apicv_accept_irq` is delivered where that is not by
 * vector; else `null`. Message data and `dm` have the mode in the same bits, 8 to 10.
 */
export function vectorlessModeOf(event: TraceEvent): VectorlessMode | null {
  const bits = event.event === "kvm_msi_set_irq" ? messageOf(event).data : numberArg(event, "dm");
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
