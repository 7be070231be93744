import { readInput } from "../target/input.ts";
import { readTrace } from "../trace/ndjson.ts";
import { type Scope, ScopeFilter } from "../trace/x86/scope.ts";
import type { Sink } from "./trace-sinks.ts";

/**
 * Puts a saved trace into a sink.
 *
 * @param path `-` for stdin.
 * @throws KvmIrqError `no-file`, `bad-input`; the sink is then not begun.
 */
export async function replay(sink: Sink, path: string, scope: Scope): Promise<void> {
  const { header, events, summary } = await readTrace(linesOf(readInput(path)));
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
