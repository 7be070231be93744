import { setTimeout as sleep } from "node:timers/promises";
import type { Arch } from "../arch/arch.ts";
import { archNamed } from "../arch/arches.ts";
import { isGrave, type Observation, observe, type WatchOptions } from "../rules/observe.ts";
import type { Snapshot } from "../vm/snapshot.ts";

/**
 * Between the looks of one reading: longer than a handler takes, together shorter than a person notices, and in no
 * step with what happens at regular intervals, such as a timer's interrupt and the mask of its handler.
 */
const PAUSES_MS = [7, 11, 19, 29, 41];

/** How one reading is taken. */
export interface Looking extends WatchOptions {
  /** The reading before, of which findings need no second look. */
  previous?: Observation | undefined;
  /** Whether something else is suspicious in a look. */
  suspects?(snapshot: Snapshot): boolean;
  signal?: AbortSignal;
  /** Whether it is a file, which never changes. */
  still?: boolean;
}

/** A reading, and how often it took a look and in how long. */
export interface Looked {
  observation: Observation;
  looks: number;
  ms: number;
}

/**
 * Takes one reading of a VM. What is wrong in it counts when it is there in each of several looks.
 *
 * A VM that runs is not read at one instant: vCPU by vCPU, and each is held meanwhile. An EOI on its way, or a
 * handler that has masked its pin, looks like something that is stuck; a moment later it is over.
 *
 * @param look takes one look at the VM.
 */
export async function takeReading(
  look: () => Promise<Snapshot>,
  { previous, suspects, signal, still, ...options }: Looking,
): Promise<Looked> {
  const start = performance.now();
  let snapshot = await look();
  const arch: Arch = archNamed(snapshot.host.arch);
  const diagnosis = await arch.diagnosis();
  const judge = { routing: arch.routing, diagnosis };
  let observation = observe(judge, previous, snapshot, options);
  let looks = 1;
  const isSuspicious = () => observation.appeared.some(isGrave) || suspects?.(snapshot) === true;
  const { mayRun, isPaused } = diagnosis;
  const moves = () => !still && mayRun(snapshot, options) && !isPaused(snapshot, options);
  for (const pause of PAUSES_MS) {
    if (!isSuspicious() || !moves() || signal?.aborted) break;
    await sleep(pause, undefined, { signal }).catch(() => {});
    snapshot = await look();
    observation = observe(judge, previous, snapshot, options, [
      ...observation.findings,
      ...(previous?.findings ?? []),
    ]);
    looks++;
  }
  return { observation, looks, ms: Math.round(performance.now() - start) };
}
