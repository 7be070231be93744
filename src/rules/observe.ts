import type { Arch, Diagnosis, ExplainOptions } from "../arch/arch.ts";
import { commonPins, type PinRoute, possibleRoutings } from "../vm/routing.ts";
import type { Snapshot } from "../vm/snapshot.ts";
import type { Difference } from "./diff.ts";
import { diffSnapshots } from "./diff-snapshots.ts";
import type { Finding } from "./finding.ts";

/** A reading of a VM that is watched, and what is new in it. */
export interface Observation {
  snapshot: Snapshot;
  /** Where its GSIs go, as far as that is pins, and known. */
  routes: readonly PinRoute[];
  /** 1 for the first. */
  reading: number;
  /** What differs from the reading before, but for what changes all the time. */
  changes: readonly Difference[];
  /** GSIs whose line rose since the reading before, as far as the chips tell. */
  risen: readonly number[];
  /** Rises that were seen since the first reading, by GSI. */
  edges: ReadonlyMap<number, number>;
  findings: readonly Finding[];
  /** Findings that the reading before did not have; in the first reading all of them. */
  appeared: readonly Finding[];
  /** Findings that the reading before had. */
  gone: readonly Finding[];
}

export interface WatchOptions extends ExplainOptions {
  /** Further paths whose changes are of no interest, as {@link diffSnapshots} takes them. */
  ignore?: readonly string[];
}

/** What an architecture knows of readings. */
export interface Judge extends Pick<Arch, "routing"> {
  diagnosis: Diagnosis;
}

/** What differs in any two readings of a VM that runs: the timer counts down, and vCPUs move on. */
const RESTLESS = ["lapic[*].timer_current", "vcpus[*]"];

/**
 * Takes one more reading of a VM that is watched.
 *
 * @param judge the VM's architecture. @param previous what came of the reading before; none for the first.
 * @param suspects what earlier looks of this reading found: no other error or warning counts.
 */
export function observe(
  { routing, diagnosis }: Judge,
  previous: Observation | undefined,
  snapshot: Snapshot,
  { ignore = [], ...options }: WatchOptions = {},
  suspects?: readonly Finding[],
): Observation {
  const before = previous?.snapshot;
  const routes = commonPins(routing, possibleRoutings(routing, snapshot, options.routing));
  const all = diagnosis.findings(snapshot, before, options);
  const strange = suspects === undefined ? [] : without(all, suspects).filter(isGrave);
  const found = all.filter((finding) => !strange.includes(finding));
  const had = previous?.findings ?? [];
  const risen = before === undefined ? [] : diagnosis.risen(before.chips, snapshot.chips, routes);
  const edges = new Map(previous?.edges);
  for (const gsi of risen) edges.set(gsi, (edges.get(gsi) ?? 0) + 1);
  return {
    snapshot,
    routes,
    reading: (previous?.reading ?? 0) + 1,
    changes:
      before === undefined ? [] : diffSnapshots(before, snapshot, { ignore: [...RESTLESS, ...ignore] }),
    risen,
    edges,
    findings: found,
    appeared: without(found, had),
    gone: without(had, found),
  };
}

/** Whether there is anything in a reading to tell of. */
export function hasNews({ changes, risen, appeared, gone }: Observation): boolean {
  return changes.length + risen.length + appeared.length + gone.length > 0;
}

/** Whether a finding says that something is wrong. */
export function isGrave({ severity }: Finding): boolean {
  return severity !== "info";
}

/** Two findings are the same one when they say the same of the same thing, in whatever words. */
function without(list: readonly Finding[], others: readonly Finding[]): Finding[] {
  const known = new Set(others.map(nameOf));
  return list.filter((finding) => !known.has(nameOf(finding)));
}

function nameOf({ code, subject }: Finding): string {
  return `${code} ${subject}`;
}
