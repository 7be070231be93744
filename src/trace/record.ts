import { readSync } from "node:fs";
import { release } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { KvmIrqError } from "../abi/error.ts";
import type { TraceEvent, TraceHeader, TraceSummary } from "./event.ts";
import { argsReader, parseEventFormat } from "./format.ts";
import { type PageLayout, parsePageLayout } from "./page.ts";
import { RecordDecoder } from "./records.ts";
import { TaskNames, threadsOf } from "./tasks.ts";
import { openTracefs, TraceInstance } from "./tracefs.ts";
import { INTERRUPT_EVENTS } from "./x86/args.ts";
import { kernelFilter, type Scope, ScopeFilter } from "./x86/scope.ts";

/** What to record, and for how long. */
export interface RecordOptions {
  /** Only events of these processes' threads, and of kernel threads that may work for them. All without it. */
  pids?: readonly number[];
  /** Only events about these lines, and the vectors they turn out to have. */
  gsis?: readonly number[];
  /** Only events about these vectors, and the lines they turn out to come from. */
  vectors?: readonly number[];
  /** Tracepoints of `events/kvm/` to record; those of {@link INTERRUPT_EVENTS} without it. */
  events?: readonly string[];
  /** Milliseconds after which the trace ends by itself. */
  durationMs?: number;
  /** Ends the trace when it fires; what was recorded until then is still handed on. */
  signal?: AbortSignal;
  /** The size of the kernel's buffer for each CPU, in KiB: 1408 unless told otherwise. */
  bufferKb?: number;
  /** Called when events are being recorded: from here on nothing is missed. */
  onStart?: (header: TraceHeader) => void;
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
export async function record(
  options: RecordOptions,
  onEvent: (event: TraceEvent) => void,
): Promise<TraceSummary> {
  const tracefs = openTracefs();
  try {
    const instance = new TraceInstance(tracefs.path);
    try {
      return await recordIn(instance, new TaskNames(tracefs.path), options, onEvent);
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
  options: RecordOptions,
  onEvent: (event: TraceEvent) => void,
): Promise<TraceSummary> {
  const scope: Scope = { gsis: options.gsis ?? [], vectors: options.vectors ?? [] };
  const layout = parsePageLayout(instance.read("events/header_page"), instance.read("events/header_event"));
  const buffers = new CpuBuffers(instance, layout);
  instance.write("tracing_on", "0");
  configure(instance, options);
  const { present, missing } = chooseEvents(instance, options.events ?? INTERRUPT_EVENTS);
  const decoder = new RecordDecoder(layout, tasks);
  for (const name of present) {
    const format = parseEventFormat(instance.read(`events/kvm/${name}/format`));
    decoder.add(format, argsReader(format));
    const filter = kernelFilter(name, scope);
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
  const events = await pump(instance, buffers, decoder, new ScopeFilter(scope), options, onEvent);
  const duration = Number(process.hrtime.bigint() - decoder.origin);
  return { events, lost: buffers.lost(), duration };
}

function configure(instance: TraceInstance, { pids, bufferKb }: RecordOptions): void {
  instance.write("trace_clock", CLOCK);
  if (bufferKb !== undefined) instance.write("buffer_size_kb", String(bufferKb));
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
    throw new KvmIrqError("trace-unavailable", "this kernel has none of KVM's tracepoints", {
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
/** An event carries the time at which its writing began; it can be read once written. */
const WRITING_TAKES_NS = 1_000_000;

async function pump(
  instance: TraceInstance,
  buffers: CpuBuffers,
  decoder: RecordDecoder,
  scope: ScopeFilter,
  { durationMs, signal }: RecordOptions,
  onEvent: (event: TraceEvent) => void,
): Promise<number> {
  const until = durationMs === undefined ? Number.POSITIVE_INFINITY : performance.now() + durationMs;
  let count = 0;
  let wait = SHORTEST_WAIT;
  let held: TraceEvent[] = [];
  for (let ended = false; !ended; ) {
    ended = (await pause(Math.min(wait, until - performance.now()), signal)) || performance.now() >= until;
    if (ended) instance.write("tracing_on", "0");
    // CPUs are read one after the other: only what happened before the first was read is complete.
    const complete = Number(process.hrtime.bigint() - decoder.origin) - WRITING_TAKES_NS;
    const fresh = buffers.read((page, cpu) => decoder.decode(page, cpu));
    wait = fresh.length > 0 ? SHORTEST_WAIT : Math.min(wait * 2, LONGEST_WAIT);
    held = [...held, ...fresh].sort((one, other) => one.time - other.time);
    const ready = ended ? held.length : held.findLastIndex((event) => event.time < complete) + 1;
    for (const event of scope.filter(held.slice(0, ready))) {
      count++;
      onEvent(event);
    }
    held = held.slice(ready);
  }
  return count;
}

/** @returns whether the signal has fired. */
async function pause(milliseconds: number, signal: AbortSignal | undefined): Promise<boolean> {
  try {
    await sleep(Math.max(milliseconds, 0), undefined, signal === undefined ? {} : { signal });
  } catch {
    // The only way in which a sleep fails.
  }
  return signal?.aborted ?? false;
}

/** The buffers of an instance, one for each CPU, as `trace_pipe_raw` gives them page by page. */
class CpuBuffers {
  readonly #instance: TraceInstance;
  readonly #pipes: { cpu: number; fd: number }[] = [];
  readonly #page: Buffer;

  constructor(instance: TraceInstance, layout: PageLayout) {
    this.#instance = instance;
    this.#page = Buffer.alloc(layout.size);
    for (const name of instance.list("per_cpu")) {
      const fd = instance.openToRead(`per_cpu/${name}/trace_pipe_raw`);
      this.#pipes.push({ cpu: Number(name.slice("cpu".length)), fd });
    }
  }

  /** Everything that is there to read, without waiting. `decode` must be done with a page when it returns. */
  read(decode: (page: Uint8Array, cpu: number) => TraceEvent[]): TraceEvent[] {
    const events: TraceEvent[][] = [];
    for (const { cpu, fd } of this.#pipes) {
      while (this.#readPage(fd)) events.push(decode(this.#page, cpu));
    }
    return events.flat();
  }

  #readPage(fd: number): boolean {
    try {
      return readSync(fd, this.#page, 0, this.#page.length, null) > 0;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EAGAIN") return false;
      throw error;
    }
  }

  /** Events that found no room, by the kernel's own count. */
  lost(): number {
    const count = (stats: string, name: string) =>
      Number(new RegExp(`^${name}: (\\d+)$`, "m").exec(stats)?.[1] ?? 0);
    return this.#pipes
      .map(({ cpu }) => this.#instance.read(`per_cpu/cpu${cpu}/stats`))
      .reduce((sum, stats) => sum + count(stats, "overrun") + count(stats, "dropped events"), 0);
  }
}
