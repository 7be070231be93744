import { viewOf } from "../abi/u64.ts";
import type { TraceEvent } from "./event.ts";
import { type ArgsReader, badFormat, type EventFormat, type FieldReader, fieldReader } from "./format.ts";
import { type PageLayout, scanPage } from "./page.ts";
import type { Task } from "./tasks.ts";

/** Bits of `common_flags`, as the legend above the `trace` file's columns explains them. */
const CONTEXTS = [
  [0x40, "nmi"],
  [0x08, "hardirq"],
  [0x10, "softirq"],
] as const;
const ANY_CONTEXT = CONTEXTS.reduce((bits, [bit]) => bits | bit, 0);

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

  /** Adds the events of one page of a CPU's buffer to others of that CPU. */
  decode(page: Uint8Array, cpu: number, events: TraceEvent[]): void {
    const common = this.#common;
    if (common === undefined) return;
    const view = viewOf(page);
    scanPage(view, this.#layout, this.origin, (time, offset, length) => {
      const known = this.#events.get(Number(common.type(view, offset)));
      if (known === undefined) return;
      const pid = Number(common.pid(view, offset));
      const context = contextOf(Number(common.flags(view, offset)));
      const { comm, process } = this.#tasks.get(pid);
      const event = known.name;
      const args = known.read(view, offset, length);
      events.push(
        context === undefined
          ? { time, cpu, pid, comm, process, event, args }
          : { time, cpu, pid, comm, process, context, event, args },
      );
    });
  }
}

/** Of most events none, which is found out at once. */
function contextOf(flags: number): TraceEvent["context"] {
  return (flags & ANY_CONTEXT) === 0 ? undefined : CONTEXTS.find(([bit]) => (flags & bit) !== 0)?.[1];
}

function commonReader(format: EventFormat, name: string): FieldReader {
  const field = format.common.find((candidate) => candidate.name === name);
  if (field === undefined) throw badFormat(`${format.name} has no "${name}"`);
  return fieldReader(field);
}
