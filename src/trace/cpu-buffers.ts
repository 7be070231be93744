import { readSync } from "node:fs";
import type { TraceEvent } from "./event.ts";
import type { PageLayout } from "./page.ts";
import type { RecordDecoder } from "./records.ts";
import type { TraceInstance } from "./tracefs.ts";

/** What one turn reads at most, of all CPUs together: some 10,000 events. */
const PAGES_A_TURN = 128;
/** A CPU that is so many events ahead of the others waits for them. */
const MOST_AHEAD = 10_000;
/** An event carries the time at which its writing began; it can be read once written. */
const WRITING_TAKES_NS = 1_000_000;

/** One CPU's buffer. */
interface CpuBuffer {
  cpu: number;
  fd: number;
  /** What was read and not handed on yet. */
  events: TraceEvent[];
  /** Everything of this CPU before that time was read. */
  known: number;
  /** Whether the last turn read all that there was. */
  isDry: boolean;
}

/** The buffers of an instance, one for each CPU, as `trace_pipe_raw` gives them page by page. */
export class CpuBuffers {
  readonly #instance: TraceInstance;
  readonly #buffers: CpuBuffer[];
  readonly #page: Buffer;

  constructor(instance: TraceInstance, layout: PageLayout) {
    this.#instance = instance;
    this.#page = Buffer.alloc(layout.size);
    this.#buffers = instance.list("per_cpu").map((name) => ({
      cpu: Number(name.slice("cpu".length)),
      fd: instance.openToRead(`per_cpu/${name}/trace_pipe_raw`),
      events: [],
      known: 0,
      isDry: false,
    }));
  }

  get count(): number {
    return this.#buffers.length;
  }

  /** Whether the last {@link take} left nothing to read. */
  get isDry(): boolean {
    return this.#buffers.every(({ isDry }) => isDry);
  }

  /**
   * Reads a part of what is there, without waiting.
   *
   * @param now the time, in nanoseconds since the trace began.
   * @returns events in the order of time: those before which no other CPU can have any.
   */
  take(decoder: RecordDecoder, now: number): TraceEvent[] {
    const pages = Math.max(Math.floor(PAGES_A_TURN / this.count), 1);
    for (const buffer of this.#buffers) this.#read(buffer, pages, decoder, now - WRITING_TAKES_NS);
    const complete = Math.min(...this.#buffers.map(({ known }) => known));
    return this.#handOn(({ time }) => time < complete);
  }

  /** What was read and held back, once nothing more comes. */
  rest(): TraceEvent[] {
    return this.#handOn(() => true);
  }

  #handOn(isReady: (event: TraceEvent) => boolean): TraceEvent[] {
    const ready = this.#buffers.flatMap((buffer) =>
      buffer.events.splice(0, firstNot(buffer.events, isReady)),
    );
    return ready.sort((one, other) => one.time - other.time);
  }

  #read(buffer: CpuBuffer, most: number, decoder: RecordDecoder, now: number): void {
    const { cpu, fd, events } = buffer;
    buffer.isDry = false;
    for (let pages = 0; pages < most && events.length < MOST_AHEAD; pages++) {
      if (!this.#readPage(fd)) {
        buffer.isDry = true;
        buffer.known = now;
        return;
      }
      decoder.decode(this.#page, cpu, events);
    }
    buffer.known = events.at(-1)?.time ?? buffer.known;
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
    return this.#buffers
      .map(({ cpu }) => this.#instance.read(`per_cpu/cpu${cpu}/stats`))
      .reduce((sum, stats) => sum + count(stats, "overrun") + count(stats, "dropped events"), 0);
  }
}

/** Where a list goes over from what is so to what is not. */
function firstNot<T>(list: readonly T[], isSo: (element: T) => boolean): number {
  let [low, high] = [0, list.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isSo(list[middle]!)) low = middle + 1;
    else high = middle;
  }
  return low;
}
