import * as v from "valibot";
import { advice, looking } from "../abi/advice.ts";
import { KvmIrqError } from "../abi/error.ts";
import type { ArgValue, TraceEvent, TraceHeader, TraceSummary } from "./event.ts";

/** What the first line of a saved trace says it is. */
const TRACE_FORMAT = "kvm-irq.trace";
/** Counts breaks of the format. */
const TRACE_VERSION = 1;

/** A whole trace, as recorded or as read back. */
export interface Trace {
  header: TraceHeader;
  events: TraceEvent[];
  /** `null` when the trace was cut off before its end. */
  summary: TraceSummary | null;
}

/** The first line of a saved trace, newline included, as the other two. */
export function headerLine(header: TraceHeader): string {
  return `${JSON.stringify({ format: TRACE_FORMAT, version: TRACE_VERSION, ...header })}\n`;
}

/** An event's line: what JSON.stringify makes of it, in a third of the time. */
export function eventLine({ time, cpu, pid, comm, process, context, event, args }: TraceEvent): string {
  const where = context === undefined ? "" : `"context":"${context}",`;
  const values: string[] = [];
  for (const name in args) values.push(`${quoted(name)}:${valueText(args[name]!)}`);
  return `{"time":${time},"cpu":${cpu},"pid":${pid},"comm":${quoted(comm)},"process":${process},${where}"event":${quoted(event)},"args":{${values.join(",")}}}\n`;
}

function valueText(value: ArgValue): string {
  return typeof value === "number" || typeof value === "boolean" ? String(value) : JSON.stringify(value);
}

/** The names of fields, events and threads in JSON: few, and each in very many lines. */
const QUOTED = new Map<string, string>();

function quoted(text: string): string {
  const known = QUOTED.get(text);
  if (known !== undefined) return known;
  const made = JSON.stringify(text);
  if (QUOTED.size < 10_000) QUOTED.set(text, made);
  return made;
}

/** The last line. */
export function summaryLine(summary: TraceSummary): string {
  return `${JSON.stringify({ summary })}\n`;
}

const count = v.pipe(v.number(), v.integer(), v.minValue(0));
const u64 = v.union([v.pipe(v.number(), v.safeInteger()), v.pipe(v.string(), v.regex(/^0x[0-9a-f]{1,16}$/))]);
const header = v.object({
  format: v.literal(TRACE_FORMAT),
  version: v.literal(TRACE_VERSION),
  started_at: v.string(),
  kernel: v.string(),
  clock: v.string(),
  clock_origin: v.pipe(v.string(), v.digits()),
  events: v.array(v.string()),
  missing: v.array(v.string()),
});
const event = v.object({
  time: v.pipe(v.number(), v.finite()),
  cpu: count,
  pid: count,
  comm: v.string(),
  process: v.nullable(count),
  context: v.exactOptional(v.picklist(["hardirq", "softirq", "nmi"])),
  event: v.string(),
  args: v.record(v.string(), v.union([u64, v.boolean(), v.string(), v.array(u64)])),
});
const summary = v.object({ summary: v.object({ events: count, lost: count, duration: count }) });

/**
 * Reads a saved trace.
 *
 * @param lines without their newlines, such as `readline` gives them. Empty ones are passed over.
 * @throws KvmIrqError `bad-input` that names the line, for anything that no trace has.
 */
export async function readTrace(lines: Iterable<string> | AsyncIterable<string>): Promise<Trace> {
  let first: TraceHeader | undefined;
  let last: TraceSummary | null = null;
  const events: TraceEvent[] = [];
  let number = 0;
  for await (const line of lines) {
    number++;
    if (line.trim() === "") continue;
    const value = parseLine(line, number);
    if (first === undefined) {
      const { format: _format, version: _version, ...rest } = check(header, value, number);
      first = rest;
    } else if (typeof value === "object" && value !== null && "summary" in value) {
      last = check(summary, value, number).summary;
    } else {
      events.push(check(event, value, number) as TraceEvent);
    }
  }
  if (first === undefined) throw notATrace(1, "it is empty");
  return { header: first, events, summary: last };
}

function parseLine(line: string, number: number): unknown {
  try {
    return JSON.parse(line);
  } catch {
    throw notATrace(number, "it is not JSON");
  }
}

function check<S extends v.GenericSchema>(schema: S, value: unknown, number: number): v.InferOutput<S> {
  const result = v.safeParse(schema, value);
  if (result.success) return result.output;
  const [issue] = result.issues;
  throw notATrace(number, `${v.getDotPath(issue) ?? "it"}: ${issue.message}`);
}

function notATrace(line: number, why: string): KvmIrqError {
  return new KvmIrqError("bad-input", `line ${line} is not of a kvm-irq trace: ${why}`, {
    hint: advice`record one with ${looking("trace", "--json", "-o", "FILE")}`,
    details: { line },
  });
}
