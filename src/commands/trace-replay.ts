import { readInput } from "../target/input.ts";
import { readTrace, type Trace } from "../trace/ndjson.ts";
import { type Scope, ScopeFilter } from "../trace/x86/scope.ts";
import type { Sink } from "./trace-sinks.ts";

/** Traces of hours are large. */
const MOST_BYTES = 2 ** 31;

/**
 * Reads a saved trace.
 *
 * @param path `-` for stdin.
 * @throws KvmIrqError `no-file`, `bad-input`.
 */
export async function readSaved(path: string): Promise<Trace> {
  return readTrace(linesOf(readInput(path, MOST_BYTES)));
}

/** Puts a saved trace into a sink. */
export async function replay(sink: Sink, { header, events, summary }: Trace, scope: Scope): Promise<void> {
  sink.begin(header);
  for (const event of new ScopeFilter(scope).filter(events)) sink.push(event);
  await sink.end(summary);
}

/** Line by line, since a long trace as one string would be longer than strings can be. */
function* linesOf(bytes: Buffer): Generator<string> {
  for (let start = 0; start < bytes.length; ) {
    const newline = bytes.indexOf("\n", start);
    const end = newline === -1 ? bytes.length : newline;
    yield bytes.toString("utf8", start, end);
    start = end + 1;
  }
}
