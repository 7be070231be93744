import { type Advice, spell, type VmAddress } from "../abi/advice.ts";
import type { Cpu } from "../arch/x86/lapic/logic.ts";
import type { PinRoute } from "../arch/x86/routing.ts";
import type { Snapshot } from "../arch/x86/state.ts";

export type Severity = "error" | "warning" | "info";

/** Something in a VM's interrupt controllers that a person would want to know of. */
export interface Finding {
  /** Stable, for scripts. */
  code: string;
  severity: Severity;
  /** What is the matter, in one sentence without a full stop. */
  sentence: string;
  /** The fields that say so, as paths. */
  evidence: string;
  remedy: string;
  /** Where the documentation tells more. */
  anchor: string;
}

/** What the tables of findings look at. */
export interface FindingContext {
  snapshot: Snapshot;
  /** The reading before this one, of the same VM, where there is one. */
  previous: Snapshot | undefined;
  /** Empty when the snapshot has no local APICs. */
  cpus: readonly Cpu[];
  hasLapics: boolean;
  /** Where GSIs go, as far as that is pins: under every routing that the VM may have, and under any. */
  routes: readonly PinRoute[];
  possibleRoutes: readonly PinRoute[];
  /** Whether the routing is known. */
  routed: boolean;
  /** Whether a guest may run, and serve interrupts between two readings. */
  guest: boolean;
  /** Whether nobody runs the vCPUs just now, though there is a guest. */
  paused: boolean;
  /** The VM that remedies are for. */
  address: VmAddress | undefined;
}

/** What is particular to one finding; a severity only where it is milder than its kind's. */
type Found = Pick<Finding, "sentence" | "evidence"> & { remedy: Advice; severity?: Severity };

/** One kind of finding: what all of its code share, and a search that gives what is particular. */
export interface FindingKind {
  code: string;
  severity: Severity;
  find(context: FindingContext): Iterable<Found>;
}

/** Runs one kind's search and completes what it gives. */
export function findKind({ code, severity, find }: FindingKind, context: FindingContext): Finding[] {
  return [...find(context)].map((found) => ({
    code,
    severity,
    ...found,
    remedy: spell(found.remedy, context.address),
    anchor: `docs/findings.md#${code}`,
  }));
}
