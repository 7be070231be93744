import type { TraceEvent } from "../../../tracefs/event.ts";
import type { VectorlessMode } from "../events/vectorless.ts";
import type { Life } from "./life.ts";

/**
 * One rise of a line, or one MSI, and what the chips made of it: collected while the strand that raised it
 * tells of it.
 */
export interface Raise {
  event: TraceEvent;
  /** `null` for an MSI that did not come through a GSI. */
  gsi: number | null;
  /** The MSI that this is or became. */
  msi?: { vector: number; delivery_mode: VectorlessMode | null };
  /** The line was up already. */
  wasUp: boolean;
  /** The chains that came of it. */
  accepted: Life[];
  /** Those of them that a local APIC accepted and the IOAPIC has not spoken of yet, and their vectors. */
  unclaimed: { chain: Life; vector: number }[];
  /** Whether a PIC has spoken, and whether the IOAPIC has. */
  picAnswered: boolean;
  ioapicAnswered: boolean;
  /** Why chips did not accept it. */
  refusals: string[];
  /** Whether a chip merged it with one that was pending. */
  coalesced: boolean;
}

/** A rise of which nothing is known but the rise itself. */
export function newRaise(event: TraceEvent, gsi: number | null, wasUp: boolean): Raise {
  return {
    event,
    gsi,
    wasUp,
    accepted: [],
    unclaimed: [],
    picAnswered: false,
    ioapicAnswered: false,
    refusals: [],
    coalesced: false,
  };
}

/** Whether the line may be one that sends an MSI; one that goes into a chip is not. */
export function maySendMsi({ msi, picAnswered, ioapicAnswered }: Raise): boolean {
  return msi === undefined && !picAnswered && !ioapicAnswered;
}

/** Why it led to no interrupt. */
export function refusalOf({ refusals, msi }: Raise): string {
  if (refusals.length > 0) return refusals.join("; ");
  return msi === undefined ? "no chip is routed to this GSI" : "no local APIC at the MSI's destination";
}
