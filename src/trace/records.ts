import { viewOf } from "../abi/u64.ts";
import type { TraceEvent } from "./event.ts";
import { type ArgsReader, badFormat, type EventFormat, type FieldReader, fieldReader } from "./format.ts";
import { type PageLayout, recordsOf } from "./page.ts";
import type { Task } from "./tasks.ts";

/** Bits of `common_flags`, as the legend above the `trace` file's columns explains them. */
const CONTEXTS = [
  [0x40, "nmi"],
  [0x08, "hardirq"],
  [0x10, "softirq"],
] as const;

/** Turns pages of a trace buffer into events, by the formats it was told of. */
export class RecordDecoder {
  /** The clock's nanoseconds that count as 0. */
  origin = 0n;
  readonly #layout: PageLayout;
  readonly #tasks: { get(pid: number): Task };
  readonly #events = new Map<number, { name: string; read: ArgsReader }>();
  #common: { type: FieldReader; flags: FieldReader; pid: FieldReader } | undefined;

  constructor(layout: PageLayout, tasks: { get(pid: number): Task }) {
    this.#layout = layout;
    this.#tasks = tasks;
  }

  /** Makes an event known. Records of others are passed over. */
  add(format: EventFormat, read: ArgsReader): void {
    this.#events.set(format.id, { name: format.name, read });
    this.#common ??= {
      type: commonReader(format, "common_type"),
      flags: commonReader(format, "common_flags"),
      pid: commonReader(format, "common_pid"),
    };
  }

  /** The events of one page of a CPU's buffer. */
  decode(page: Uint8Array, cpu: number): TraceEvent[] {
    const view = viewOf(page);
    const events: TraceEvent[] = [];
    const common = this.#common;
    if (common === undefined) return events;
    for (const { time, offset } of recordsOf(page, this.#layout)) {
      const known = this.#events.get(Number(common.type(view, offset)));
      if (known === undefined) continue;
      const pid = Number(common.pid(view, offset));
      const flags = Number(common.flags(view, offset));
      const context = CONTEXTS.find(([bit]) => (flags & bit) !== 0)?.[1];
      events.push({
        time: Number(time - this.origin),
        cpu,
        pid,
        ...this.#tasks.get(pid),
        ...(context === undefined ? {} : { context }),
        event: known.name,
        args: known.read(view, offset),
      });
    }
    return events;
  }
}

function commonReader(format: EventFormat, name: string): FieldReader {
  const field = format.common.find((candidate) => candidate.name === name);
  if (field === undefined) throw badFormat(`${format.name} has no "${name}"`);
  return fieldReader(field);
}
