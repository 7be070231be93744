import * as v from "valibot";
import { advice, looking } from "../abi/advice.ts";
import { KvmIrqError } from "../abi/error.ts";
import { Memo } from "../abi/memo.ts";
import type { Args, TraceEvent, TraceHeader, TraceSink, TraceSummary } from "../tracefs/event.ts";
import { isCount, isWhat, isWho, LineScanner } from "./line-scanner.ts";

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

/** An event's line: what JSON.stringify makes of it, in a tenth of the time. */
export function eventLine({ time, cpu, pid, comm, process, context, event, args }: TraceEvent): string {
  const where = context === undefined ? "" : `"context":"${context}",`;
  return `{"time":${time},"cpu":${cpu},"pid":${pid},"comm":${QUOTED.of(comm, comm)},"process":${process},${where}"event":${QUOTED.of(event, event)},"args":${ARGS.of(args, args)}}\n`;
}

/** The names of events and threads in JSON: few, and each in very many lines. */
const QUOTED = new Memo<string, string>(JSON.stringify);
/** Events of the same fields mostly share them. */
const ARGS = new Memo<Args, string>(JSON.stringify);

/** The last line. */
export function summaryLine(summary: TraceSummary): string {
  return `${JSON.stringify({ summary })}\n`;
}

/** A line an event. */
export function ndjsonSink(write: (piece: string) => void): TraceSink {
  return {
    begin: (header) => write(headerLine(header)),
    push: (event) => write(eventLine(event)),
    end: (summary) => {
      if (summary !== null) write(summaryLine(summary));
    },
  };
}

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
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
  time: v.pipe(v.number(), v.safeInteger()),
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
  const events: TraceEvent[] = [];
  const parser = new TraceParser((event) => events.push(event));
  for await (const line of lines) parser.push(line);
  return { header: parser.header, events, summary: parser.summary };
}

/** A line of a trace is some 200 bytes; how deep a longer one nests, or what it takes once parsed, nobody wants to know. */
const LONGEST_LINE = 64 * 1024;

/** Reads a saved trace line by line, and keeps none of its events. */
export class TraceParser {
  /** `null` when the trace was cut off before its end. */
  summary: TraceSummary | null = null;
  readonly #onEvent: (event: TraceEvent) => void;
  readonly #scanner = new LineScanner();
  #header: TraceHeader | undefined;
  #lines = 0;

  constructor(onEvent: (event: TraceEvent) => void) {
    this.#onEvent = onEvent;
  }

  /** What the first line says. @throws KvmIrqError `bad-input` where there was none. */
  get header(): TraceHeader {
    if (this.#header === undefined) throw notATrace(1, "it is empty");
    return this.#header;
  }

  /** @throws KvmIrqError `bad-input` that names the line. */
  push(line: string): void {
    const number = ++this.#lines;
    if (line.length > LONGEST_LINE) throw this.#tooLong(number);
    const known = this.#header === undefined ? undefined : this.#scanner.event(line);
    if (known !== undefined) this.#onEvent(known);
    else if (line.trim() !== "") this.#pushOther(line, number);
  }

  #pushOther(line: string, number: number): void {
    const value = parseLine(line, number);
    if (this.#header === undefined) {
      const { format: _format, version: _version, ...rest } = check(header, value, number);
      this.#header = rest;
    } else if (isEvent(value)) {
      this.#onEvent(value);
    } else if (typeof value === "object" && value !== null && "summary" in value) {
      this.summary = check(summary, value, number).summary;
    } else {
      this.#onEvent(check(event, value, number) as TraceEvent);
    }
  }

  /** @param bytes what has come of a line that has not ended. @throws KvmIrqError `bad-input` when it is too long. */
  checkLength(bytes: number): void {
    if (bytes > LONGEST_LINE) throw this.#tooLong(this.#lines + 1);
  }

  #tooLong(number: number): KvmIrqError {
    return notATrace(number, `it is longer than ${LONGEST_LINE / 1024} KiB`);
  }
}

/**
 * Whether a value is for certain an event as it was saved, in a tenth of the time that the schema takes. What is
 * not, the schema judges: it takes more, and says what is wrong.
 */
function isEvent(value: unknown): value is TraceEvent {
  if (typeof value !== "object" || value === null || "summary" in value) return false;
  const fields = value as Record<string, unknown>;
  return (
    Object.keys(value).length === (fields["context"] === undefined ? 7 : 8) &&
    Number.isSafeInteger(fields["time"]) &&
    isCount(fields["cpu"]) &&
    isWho(fields) &&
    isWhat(fields)
  );
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
