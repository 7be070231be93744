import type { TraceEvent, TraceSummary } from "../../../tracefs/event.ts";
import { type RecordOptions as AnyOptions, record as recordAny } from "../../../tracefs/record.ts";
import type { Scope } from "../../arch.ts";
import { INTERRUPT_EVENTS, kernelFilter } from "./rows.ts";
import { ScopeFilter } from "./scope.ts";

/** What to record, and for how long. */
export interface RecordOptions extends AnyOptions {
  /** Only events about these lines, and the vectors they turn out to have. */
  gsis?: readonly number[];
  /** Only events about these vectors, and the lines they turn out to come from. */
  vectors?: readonly number[];
  /** Tracepoints of `events/kvm/` to record; those of {@link INTERRUPT_EVENTS} without it. */
  events?: readonly string[];
}

/**
 * Records KVM's interrupt tracepoints in a trace instance of its own, until the time is up or the signal
 * fires, and leaves nothing behind. Other users of tracing, further calls of this function included, notice
 * nothing.
 *
 * @param onEvent gets every event, in the order of time, some tens of milliseconds after it happened.
 * @throws KvmIrqError `trace-unavailable` when this kernel or user can't trace, `no-process` for a process
 *   that is not there.
 */
export function record(
  { gsis = [], vectors = [], events = INTERRUPT_EVENTS, ...options }: RecordOptions,
  onEvent: (event: TraceEvent) => void,
): Promise<TraceSummary> {
  const scope: Scope = { gsis, vectors };
  const filter = new ScopeFilter(scope);
  return recordAny(
    { events, filter: (name) => kernelFilter(name, scope), pick: (batch) => filter.filter(batch) },
    options,
    onEvent,
  );
}
