import { type Finding, type FindingKind, findKind } from "../../../rules/finding.ts";
import { possibleRoutings } from "../../../vm/routing.ts";
import type { ExplainOptions } from "../../arch.ts";
import { IOAPIC_FINDINGS } from "../ioapic/findings.ts";
import { LAPIC_FINDINGS } from "../lapic/findings.ts";
import { cpusOf } from "../lapic/logic.ts";
import { PIC_FINDINGS } from "../pic/findings.ts";
import { commonPins, pinRoutesOf, ROUTING } from "../routing.ts";
import type { Snapshot } from "../state.ts";
import { isPaused, mayRun } from "./explain.ts";

/** Every kind of finding there is, each with its stable code and severity. */
export const FINDING_KINDS: readonly FindingKind[] = [...IOAPIC_FINDINGS, ...PIC_FINDINGS, ...LAPIC_FINDINGS];

const GRAVEST_FIRST = ["error", "warning", "info"] as const;

/**
 * What is wrong, or odd, in a VM's interrupt controllers. A VM that is in order has none.
 *
 * @param previous an earlier reading of the same VM: some findings need two.
 * @returns the gravest first.
 */
export function findings(
  snapshot: Snapshot,
  previous?: Snapshot | undefined,
  options: ExplainOptions = {},
): Finding[] {
  const cpus = cpusOf(snapshot);
  const routings = possibleRoutings(ROUTING, snapshot, options.routing);
  const context = {
    snapshot,
    previous,
    cpus: cpus ?? [],
    hasLapics: cpus !== undefined,
    routes: commonPins(routings),
    possibleRoutes: routings.flatMap(pinRoutesOf),
    routed: routings.length === 1,
    guest: mayRun(snapshot, options),
    paused: isPaused(snapshot, options),
    address: options.address,
  };
  return FINDING_KINDS.flatMap((kind) => findKind(kind, context)).sort(
    (a, b) => GRAVEST_FIRST.indexOf(a.severity) - GRAVEST_FIRST.indexOf(b.severity),
  );
}
