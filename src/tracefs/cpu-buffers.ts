import { readSync } from "node:fs";
import type { TraceEvent } from "./event.ts";
import { countRecords, type PageLayout } from "./page.ts";
import { PageStore, type StoredPage } from "./page-store.ts";
import type { RecordDecoder } from "./records.ts";
import type { TraceInstance } from "./tracefs.ts";

/** What one turn decodes at most, of all CPUs together: some 10,000 events. */
const PAGES_A_TURN = 128;
/** What one turn takes out of a CPU's buffer at most: all that one of 8 MiB holds. */
const PAGES_A_FILL = 2048;
/** A CPU that is so many events ahead of the others waits for them. */
const MOST_AHEAD = 10_000;
/** An event carries the time at which its writing began; it can be read once written. */
const WRITING_TAKES_NS = 1_000_000;

/** One CPU's buffer. */
interface CpuBuffer {
  cpu: number;
  fd: number;
  /** What was taken out of the kernel's buffer; from `next` on it is not decoded yet. */
  pages: StoredPage[];
  next: number;
  /** When the kernel's buffer was last seen empty; `undefined` while the last look left something there. */
  emptyAt: number | undefined;
  /** What was decoded and not handed on yet. */
  events: TraceEvent[];
  /** Everything of this CPU before that time was decoded. */
  known: number;
}

/**
 * The buffers of an instance, one for each CPU, as `trace_pipe_raw` gives them page by page. Pages are taken out
 * of the kernel's buffer much faster than they can be decoded: what a storm leaves no time for waits here.
 */
export class CpuBuffers {
  readonly #instance: TraceInstance;
  readonly #layout: PageLayout;
  readonly #buffers: CpuBuffer[];
  readonly #page: Buffer;
  readonly #store: PageStore;

  constructor(instance: TraceInstance, layout: PageLayout) {
    this.#instance = instance;
    this.#layout = layout;
    this.#page = Buffer.alloc(layout.size);
    this.#store = new PageStore(layout.size);
    this.#buffers = instance.list("per_cpu").map((name) => ({
      cpu: Number(name.slice("cpu".length)),
      fd: instance.openToRead(`per_cpu/${name}/trace_pipe_raw`),
      pages: [],
      next: 0,
      emptyAt: undefined,
      events: [],
      known: 0,
    }));
  }

  get count(): number {
    return this.#buffers.length;
  }

  /** Whether there is nothing left to take out or to decode. */
  get isDry(): boolean {
    return this.#buffers.every(({ pages, emptyAt }) => pages.length === 0 && emptyAt !== undefined);
  }

  /**
   * Takes what is there out of the kernel's buffers, without waiting, as far as there is room for it.
   *
   * @param now the time, in nanoseconds since the trace began.
   */
  fill(now: number): void {
    for (const buffer of this.#buffers) {
      buffer.emptyAt = undefined;
      for (let pages = 0; pages < PAGES_A_FILL && this.#store.hasRoom; pages++) {
        if (!this.#readPage(buffer.fd)) {
          buffer.emptyAt = now - WRITING_TAKES_NS;
          break;
        }
        buffer.pages.push(this.#store.put(this.#page));
      }
    }
  }

  /**
   * Decodes a part of what was taken out.
   *
   * @returns events in the order of time: those before which no other CPU can have any.
   */
  take(decoder: RecordDecoder): TraceEvent[] {
    const pages = Math.max(Math.floor(PAGES_A_TURN / this.count), 1);
    for (const buffer of this.#buffers) this.#decode(buffer, pages, decoder);
    const complete = Math.min(...this.#buffers.map(({ known }) => known));
    return this.#handOn(({ time }) => time < complete);
  }

  #decode(buffer: CpuBuffer, most: number, decoder: RecordDecoder): void {
    const { cpu, events, pages } = buffer;
    for (let count = 0; count < most && events.length < MOST_AHEAD && buffer.next < pages.length; count++) {
      decoder.decode(this.#store.take(pages[buffer.next++]!), cpu, events);
    }
    const hasAll = buffer.next === pages.length;
    if (hasAll) {
      buffer.pages = [];
      buffer.next = 0;
    }
    buffer.known = (hasAll ? buffer.emptyAt : undefined) ?? events.at(-1)?.time ?? buffer.known;
  }

  /** Gives up what is not decoded yet. @returns how many events that were. */
  discard(): number {
    const pages = this.#buffers.flatMap((buffer) => buffer.pages.splice(0).slice(buffer.next));
    for (const buffer of this.#buffers) buffer.next = 0;
    return pages.reduce<number>((sum, page) => sum + countRecords(this.#store.take(page), this.#layout), 0);
  }

  /** Gives back what pages were kept in. */
  close(): void {
    this.#store.close();
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
