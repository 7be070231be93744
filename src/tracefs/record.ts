import { release } from "node:os";
import { setImmediate as nextTurn, setTimeout as sleep } from "node:timers/promises";
import { KvmIrqError } from "../abi/error.ts";
import { CpuBuffers } from "./cpu-buffers.ts";
import type { TraceEvent, TraceHeader, TraceSummary } from "./event.ts";
import { argsReader, parseEventFormat } from "./format.ts";
import { parsePageLayout } from "./page.ts";
import { RecordDecoder } from "./records.ts";
import { TaskNames, threadsOf } from "./tasks.ts";
import { openTracefs, TraceInstance } from "./tracefs.ts";

/** Which events to record. */
export interface Wanted {
  /** Tracepoints of `events/kvm/`. */
  events: readonly string[];
  /** What the kernel is to sort out of an event's records (Documentation/trace/events.rst), if anything. */
  filter(name: string): string | undefined;
  /** Those of a batch, which comes in the order of time, that are wanted for what the kernel can't tell. */
  pick(events: readonly TraceEvent[]): readonly TraceEvent[];
}

/** How to record, and for how long. */
export interface RecordOptions {
  /** Only events of these processes' threads, and of kernel threads that may work for them. All without it. */
  pids?: readonly number[];
  /** Milliseconds after which the trace ends by itself. */
  durationMs?: number;
  /** Ends the trace when it fires; what was recorded until then is still handed on. */
  signal?: AbortSignal;
  /** Somebody waits for the end: once this fires, what a storm left is gone through for {@link PATIENCE_MS} at most. */
  hurry?: AbortSignal;
  /** The size of the kernel's buffer for each CPU, in KiB; without it {@link defaultBufferKb} of them. */
  bufferKb?: number;
  /** Called after each batch of events; the next is read once it is done, so that whoever is slow is not buried. */
  onBatch?: () => void | Promise<void>;
  /** Called when events are being recorded: from here on nothing is missed. */
  onStart?: (header: TraceHeader) => void;
}

/**
 * Records tracepoints of KVM's in a trace instance of its own, until the time is up or the signal
 * fires, and leaves nothing behind. Other users of tracing, further calls of this function included, notice
 * nothing.
 *
 * @param onEvent gets every event, in the order of time, some tens of milliseconds after it happened.
 * @throws KvmIrqError `trace-unavailable` when this kernel or user can't trace, `no-process` for a process
 *   that is not there.
 */
export async function record(
  wanted: Wanted,
  options: RecordOptions,
  onEvent: (event: TraceEvent) => void,
): Promise<TraceSummary> {
  const tracefs = openTracefs();
  try {
    const instance = new TraceInstance(tracefs.path);
    try {
      return await recordIn(instance, new TaskNames(tracefs.path), wanted, options, onEvent);
    } finally {
      instance.remove();
    }
  } finally {
    tracefs.close();
  }
}

async function recordIn(
  instance: TraceInstance,
  tasks: TaskNames,
  wanted: Wanted,
  options: RecordOptions,
  onEvent: (event: TraceEvent) => void,
): Promise<TraceSummary> {
  const layout = parsePageLayout(instance.read("events/header_page"), instance.read("events/header_event"));
  const buffers = new CpuBuffers(instance, layout);
  instance.write("tracing_on", "0");
  configure(instance, buffers.count, options);
  const { present, missing } = chooseEvents(instance, wanted.events);
  const decoder = new RecordDecoder(layout, tasks);
  for (const name of present) {
    const format = parseEventFormat(instance.read(`events/kvm/${name}/format`));
    decoder.add(format, argsReader(format));
    const filter = wanted.filter(name);
    if (filter !== undefined) instance.write(`events/kvm/${name}/filter`, filter);
    instance.write(`events/kvm/${name}/enable`, "1");
  }
  decoder.origin = process.hrtime.bigint();
  instance.write("tracing_on", "1");
  options.onStart?.({
    started_at: new Date().toISOString(),
    kernel: release(),
    clock: CLOCK,
    clock_origin: String(decoder.origin),
    events: present,
    missing,
  });
  // At once, whatever is being waited for: what comes after is not asked for.
  const stop = () => instance.tryWrite("tracing_on", "0");
  options.signal?.addEventListener("abort", stop);
  try {
    const { events, discarded } = await pump(instance, buffers, decoder, wanted, options, onEvent);
    const duration = Number(process.hrtime.bigint() - decoder.origin);
    return { events, lost: buffers.lost() + discarded, duration };
  } finally {
    options.signal?.removeEventListener("abort", stop);
    buffers.close();
  }
}

/** What all buffers may take together, in KiB, where a CPU's own is larger than the kernel's default. */
const BUFFERS_KB = 64 * 1024;
const LARGEST_BUFFER_KB = 8 * 1024;
/** TRACE_BUF_SIZE_DEFAULT of kernel/trace/trace.c: the size of an instance's buffers, and the least taken here. */
const KERNEL_BUFFER_KB = 1408;

/**
 * The buffer for each of so many CPUs, in KiB: 8 MiB for up to 8, which hold what 100,000 interrupts a second
 * write in a second; with more CPUs 64 MiB in all, but never less than the kernel's own default.
 */
export function defaultBufferKb(cpus: number): number {
  return Math.max(Math.min(Math.floor(BUFFERS_KB / cpus), LARGEST_BUFFER_KB), KERNEL_BUFFER_KB);
}

function configure(instance: TraceInstance, cpus: number, { pids, bufferKb }: RecordOptions): void {
  instance.write("trace_clock", CLOCK);
  if (bufferKb !== undefined) instance.write("buffer_size_kb", String(bufferKb));
  // A host that is short of memory keeps the size that it gave.
  else instance.tryWrite("buffer_size_kb", String(defaultBufferKb(cpus)));
  // Lets threads that ended before they were met still be told apart. Best effort: names only.
  instance.tryWrite("options/record-tgid", "1");
  if (pids === undefined) return;
  // Threads and processes that those listed start are followed too.
  instance.write("options/event-fork", "1");
  instance.write("set_event_pid", [...new Set(pids.flatMap(threadsOf))].join(" "));
}

function chooseEvents(
  instance: TraceInstance,
  wanted: readonly string[],
): { present: string[]; missing: string[] } {
  const groups = instance.list("events");
  const known = new Set(groups.includes("kvm") ? instance.list("events/kvm") : []);
  const present = wanted.filter((name) => known.has(name));
  if (present.length === 0) {
    throw new KvmIrqError("trace-unavailable", "this kernel has no KVM tracepoints", {
      hint: "load KVM first (`sudo modprobe kvm-intel` or `kvm-amd`); `kvm-irq doctor` says more",
      details: { events: wanted },
    });
  }
  return { present, missing: wanted.filter((name) => !known.has(name)) };
}

/**
 * CLOCK_MONOTONIC, which all CPUs share and which is also Node's: so that what was recorded before a moment
 * can be told from what came after. Kernels have it since 3.17.
 */
const CLOCK = "mono";

/** How long to wait between looks at the buffers, in milliseconds: soon after events, longer when idle. */
const SHORTEST_WAIT = 10;
const LONGEST_WAIT = 80;
/** How long an interrupted trace goes on with what a storm left; the rest counts as lost. */
const PATIENCE_MS = 1500;

async function pump(
  instance: TraceInstance,
  buffers: CpuBuffers,
  decoder: RecordDecoder,
  wanted: Wanted,
  { durationMs, signal, hurry, onBatch }: RecordOptions,
  onEvent: (event: TraceEvent) => void,
): Promise<{ events: number; discarded: number }> {
  const until = durationMs === undefined ? Number.POSITIVE_INFINITY : performance.now() + durationMs;
  const hasEnded = () => signal?.aborted === true || performance.now() >= until;
  let count = 0;
  let wait = SHORTEST_WAIT;
  const handOn = async (events: readonly TraceEvent[]) => {
    for (const event of wanted.pick(events)) {
      count++;
      onEvent(event);
    }
    await onBatch?.();
  };
  const now = () => Number(process.hrtime.bigint() - decoder.origin);
  const turn = async () => {
    buffers.fill(now());
    const events = buffers.take(decoder);
    await handOn(events);
    return events.length;
  };
  while (!hasEnded()) {
    wait = (await turn()) > 0 ? SHORTEST_WAIT : Math.min(wait * 2, LONGEST_WAIT);
    if (buffers.isDry) await pause(Math.min(wait, until - performance.now()), signal);
    // Signals and what waits to be written get their turn, however fast events come.
    else await nextTurn();
  }
  instance.write("tracing_on", "0");
  let giveUpAt = Number.POSITIVE_INFINITY;
  do {
    await turn();
    await nextTurn();
    if (hurry?.aborted) giveUpAt = Math.min(giveUpAt, performance.now() + PATIENCE_MS);
  } while (!buffers.isDry && performance.now() < giveUpAt);
  const discarded = buffers.discard();
  await handOn(buffers.rest());
  return { events: count, discarded };
}

async function pause(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await sleep(Math.max(milliseconds, 0), undefined, signal === undefined ? {} : { signal });
  } catch {
    // The only way in which a sleep fails: the signal has fired.
  }
}
