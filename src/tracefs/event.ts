import { KvmIrqError } from "../abi/error.ts";
import type { U64 } from "../abi/u64.ts";

/** A field of a trace record: a number (hexadecimal text from 2^53 on), a flag, a text, or an array of numbers. */
export type ArgValue = U64 | boolean | string | U64[];

/** The record's own fields by the names that the event's `format` file gives them. Events of one name may share them. */
export type Args = Readonly<Record<string, ArgValue>>;

/** One tracepoint hit. */
export interface TraceEvent {
  /** Nanoseconds since the trace began. */
  time: number;
  /** The CPU of the host it happened on. */
  cpu: number;
  /** The thread that was running, 0 for an idle CPU. */
  pid: number;
  /** That thread's name. */
  comm: string;
  /** The process the thread belongs to or works for; `null` for a thread of the kernel's own. */
  process: number | null;
  /** Set when the event came from an interrupt that merely hit that thread. */
  context?: "hardirq" | "softirq" | "nmi";
  /** The tracepoint's name, such as `kvm_set_irq`. */
  event: string;
  args: Args;
}

/** What a trace is a trace of. */
export interface TraceHeader {
  /** When it began, as ISO 8601. */
  started_at: string;
  /** The kernel's release, such as `6.12.0`. */
  kernel: string;
  /** The trace clock that times are taken from: `mono` is CLOCK_MONOTONIC. */
  clock: string;
  /** The clock's value when the trace began, in nanoseconds, as decimal digits. */
  clock_origin: string;
  /** The events recorded. */
  events: string[];
  /** The events asked for that this kernel does not have. */
  missing: string[];
}

/** How a trace went. */
export interface TraceSummary {
  /** Events handed on. */
  events: number;
  /** Events that the kernel dropped because its buffer was full. */
  lost: number;
  /** Nanoseconds from the beginning to the end. */
  duration: number;
}

/** A number out of a record's fields; 0 when the kernel's format has no such field, or it is none. */
export function numberArg(event: TraceEvent, name: string): number {
  const value = event.args[name];
  return typeof value === "number" ? value : Number(value ?? 0) || 0;
}

/**
 * The two words of an argument of 64 bits; zero for an event without it.
 *
 * @throws KvmIrqError `bad-input` for what no kernel puts there, but a file may.
 */
export function wordsArg(event: TraceEvent, name: string): [low: number, high: number] {
  const value = event.args[name] ?? 0;
  // Most fit into a number, and a BigInt of each would take longer than all else that is done with it.
  if (typeof value === "number" && value >= 0) return [value >>> 0, Math.floor(value / 2 ** 32) >>> 0];
  if (typeof value === "string" && /^0x[0-9a-f]{1,16}$/.test(value)) {
    return [Number(BigInt(value) & 0xffff_ffffn), Number(BigInt(value) >> 32n)];
  }
  throw new KvmIrqError(
    "bad-input",
    `the trace has a ${event.event} whose ${name} is ${JSON.stringify(value)}, not a number`,
  );
}

const CONTEXT_CODES = { hardirq: 1, softirq: 2, nmi: 3 } as const;

/**
 * Events of one strand follow each other in program order: those of a thread, and apart from them those of
 * the interrupts that hit it. All idle threads have the number 0, and are told apart by their CPUs.
 */
export function strandOf({ pid, cpu, context }: TraceEvent): number {
  return (pid === 0 ? -1 - cpu : pid) * 4 + (context === undefined ? 0 : CONTEXT_CODES[context]);
}

/** Takes a trace as it comes. */
export interface TraceSink {
  begin(header: TraceHeader): void;
  push(event: TraceEvent): void;
  /** @param summary `null` when the trace was cut off before its end. */
  end(summary: TraceSummary | null): void | Promise<void>;
}
