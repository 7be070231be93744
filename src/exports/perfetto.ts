import { beginOf, type Chain, type Step } from "../lives/chain.ts";
import type { Wave } from "../lives/waves.ts";
import { hex } from "../text/format.ts";
import type { TraceEvent } from "../tracefs/event.ts";

/** An event of the Trace Event Format that Chrome and Perfetto read; times in microseconds. */
interface ChromeEvent {
  name: string;
  ph: "M" | "i" | "b" | "e" | "C";
  pid: number;
  tid: number;
  ts?: number;
  cat?: string;
  id?: string;
  s?: "t";
  args?: Record<string, unknown>;
}

/**
 * A trace as Chrome's trace event JSON, which ui.perfetto.dev and chrome://tracing open: events as instants
 * on the thread they happened on, interrupts as slices from step to step, lines as counters.
 *
 * @param detailOf what an event says, in few words.
 * @returns the file, piece by piece.
 */
export function* perfetto(
  events: readonly TraceEvent[],
  chains: readonly Chain[],
  waves: readonly Wave[],
  detailOf: (event: TraceEvent) => string,
): Generator<string> {
  yield '{"displayTimeUnit":"ns","traceEvents":[';
  let separator = "\n";
  for (const event of chromeEvents(events, chains, waves, detailOf)) {
    yield separator + JSON.stringify(event);
    separator = ",\n";
  }
  yield "\n]}\n";
}

function* chromeEvents(
  events: readonly TraceEvent[],
  chains: readonly Chain[],
  waves: readonly Wave[],
  detailOf: (event: TraceEvent) => string,
): Generator<ChromeEvent> {
  yield* namesOf(events);
  for (const event of events) {
    const { process, pid, cpu, time, args } = event;
    yield {
      name: event.event,
      cat: "kvm",
      ph: "i",
      s: "t",
      ...placeOf(process, pid),
      ts: microseconds(time),
      args: { detail: detailOf(event), cpu, ...args },
    };
  }
  for (const chain of chains) yield* slicesOf(chain);
  for (const { scope, name, kind, changes } of waves) {
    if (kind !== "line") continue;
    const pid = Number(/\d+$/.exec(scope)?.[0] ?? 0);
    for (const { time, value } of changes) {
      yield { name, ph: "C", pid, tid: 0, ts: microseconds(time), args: { level: value } };
    }
  }
}

/** Process 0 stands for the kernel's own threads. */
function placeOf(process: number | null, tid: number): { pid: number; tid: number } {
  return { pid: process ?? 0, tid };
}

function* namesOf(events: readonly TraceEvent[]): Generator<ChromeEvent> {
  const threads = new Map(events.map((event) => [event.pid, event]));
  const processes = new Map<number, string>();
  for (const { process, pid, comm } of threads.values()) {
    const place = placeOf(process, pid);
    yield { name: "thread_name", ph: "M", ...place, args: { name: comm } };
    // A process is called after its main thread, where that was met.
    if (pid === process || !processes.has(place.pid)) processes.set(place.pid, comm);
  }
  for (const [pid, comm] of processes) {
    const name = pid === 0 ? "kernel" : comm;
    yield { name: "process_name", ph: "M", pid, tid: 0, args: { name } };
  }
}

/** One slice for the whole interrupt, and inside it one for each step to the next. */
function* slicesOf(chain: Chain): Generator<ChromeEvent> {
  const { id, process, gsi, vector, delivery_mode, apic, route, outcome, stopped } = chain;
  const common = { cat: "interrupt", id: `0x${id.toString(16)}`, ...placeOf(process, 0) };
  const steps = (Object.entries(chain.steps) as [Step, number][])
    .filter(([step]) => step !== "lowered")
    .sort(([, one], [, other]) => one - other);
  const form = vector === null ? (delivery_mode ?? "") : `vector ${hex(vector)}`;
  const name = gsi === null ? form : `GSI ${gsi}`;
  const args = { gsi, vector, delivery_mode, apic, route, outcome, ...(stopped === null ? {} : { stopped }) };
  yield { ...common, name, ph: "b", ts: microseconds(beginOf(chain)), args };
  for (const [index, [step, time]] of steps.entries()) {
    const next = steps[index + 1];
    if (next === undefined) continue;
    const inner = { ...common, name: `${step} to ${next[0]}` };
    yield { ...inner, ph: "b", ts: microseconds(time) };
    yield { ...inner, ph: "e", ts: microseconds(next[1]) };
  }
  yield { ...common, name, ph: "e", ts: microseconds(steps.at(-1)![1]) };
}

function microseconds(nanoseconds: number): number {
  return nanoseconds / 1000;
}
