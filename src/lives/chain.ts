/** The steps of an interrupt's life, as KVM tells of them, in the order in which they normally come. */
export const STEPS = ["raised", "accepted", "posted", "injected", "eoi", "acknowledged", "lowered"] as const;

/**
 * - `raised`: the line went up, or the MSI was sent (`kvm_set_irq` with level 1, `kvm_msi_set_irq`);
 * - `accepted`: a PIC with the pin unmasked will present it, or a local APIC was offered it (`kvm_pic_set_irq`,
 *   `kvm_apic_accept_irq`, which comes before KVM looks whether the local APIC is software-enabled);
 * - `posted`: a local APIC that the CPU runs by itself has it (`kvm_apicv_accept_irq`; APICv, AVIC): the CPU
 *   injects it, and for an edge ends it, without telling KVM;
 * - `injected`: KVM gave it to a vCPU (`kvm_inj_virq`);
 * - `eoi`: the guest ended it at its local APIC (`kvm_eoi`);
 * - `acknowledged`: the guest's end reached the chip that the line goes into (`kvm_ack_irq`): for a PIC its
 *   own EOI command, for the IOAPIC the EOI of a level-triggered vector;
 * - `lowered`: the line went down (`kvm_set_irq` with level 0).
 */
export type Step = (typeof STEPS)[number];

/** The way an interrupt took into a vCPU; `none` when no chip took it, `local` when it came without a line. */
export type Route = "pic" | "ioapic" | "msi" | "local" | "none";

/** The life of one interrupt. */
export interface Chain<Mode extends string = string> {
  /** Counts from 1, in the order in which chains begin. */
  id: number;
  /** The VM's process, as far as the events tell. */
  process: number | null;
  gsi: number | null;
  vector: number | null;
  /** What it is delivered as when that is not by vector: an NMI, an SMI, an INIT. Else `null`. */
  delivery_mode: Mode | null;
  /** The local APIC's id. */
  apic: number | null;
  route: Route;
  trigger: "edge" | "level" | null;
  /** When each step happened, in nanoseconds since the trace began. */
  steps: Partial<Record<Step, number>>;
  /** Delivered again by the IOAPIC because the line was still up at the EOI. */
  again: boolean;
  /** `posted`: an edge that the CPU has been given; whether the guest took and ended it isn't told. */
  outcome: "complete" | "coalesced" | "posted" | "unfinished";
  /** The last step there is and what is known of why it is the last; `null` for a complete chain. */
  stopped: { at: Step; why: string } | null;
}

/** The step that a chain has got to, `lowered` aside: that is the line's doing, not the interrupt's. */
export function stepReached({ steps }: Pick<Chain, "steps">): Step {
  return STEPS.findLast((step) => step !== "lowered" && steps[step] !== undefined) ?? "raised";
}

/** When a chain's first step was. */
export function beginOf({ steps }: Pick<Chain, "steps">): number {
  let begin = Number.POSITIVE_INFINITY;
  for (const step of STEPS) if (steps[step]! < begin) begin = steps[step]!;
  return begin;
}

const ROUTES = ["pic", "ioapic", "msi", "local", "none"] as const satisfies Route[];

/** What tells the interrupts of one place from others; a number where all of it fits into one, since that is faster. */
export function placeOf({ process, gsi, vector, delivery_mode, route }: Chain): number | string {
  if (
    delivery_mode !== null ||
    (gsi ?? 0) >= 2 ** 12 ||
    (vector ?? 0) >= 2 ** 8 ||
    (process ?? 0) > 2 ** 22
  ) {
    return `${process} ${gsi} ${vector} ${delivery_mode} ${route}`;
  }
  const line = ((process ?? -1) + 1) * 2 ** 13 + (gsi ?? -1) + 1;
  return (line * 2 ** 10 + (vector ?? -2) + 2) * 8 + ROUTES.indexOf(route);
}
