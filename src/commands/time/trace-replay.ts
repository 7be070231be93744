import { addAbortSignal } from "node:stream";
import { KvmIrqError } from "../../abi/error.ts";
import type { EventFilter, Events, Learned, Scope } from "../../arch/arch.ts";
import { TraceParser } from "../../exports/ndjson.ts";
import { openInput, unreadable } from "../../os/input.ts";
import type { TraceEvent, TraceSink } from "../../tracefs/event.ts";

/** How many events are read before those before them are shown. */
const LOOK_AHEAD = 8192;

/**
 * Opens a saved trace.
 *
 * @param path `-` for stdin.
 * @returns reads it into a sink; resolves to the exit status: 130 when interrupted, else 0.
 * @throws KvmIrqError `no-file`, and when read `bad-input`.
 */
export function openSaved(
  path: string,
  events: Events,
  signal: AbortSignal,
): (sink: TraceSink, scope: Scope, onBatch: () => Promise<void>) => Promise<number> {
  const chunks = openInput(path);
  addAbortSignal(signal, chunks);
  return async (sink, scope, onBatch) => {
    const replay = new Replay(sink, events.filter(scope));
    try {
      for await (const lines of linesOf(chunks, (bytes) => replay.parser.checkLength(bytes))) {
        for (const line of lines) replay.parser.push(line);
        if (replay.handOn()) await onBatch();
        if (signal.aborted) return 130;
      }
    } catch (error) {
      if (signal.aborted) return 130;
      throw error instanceof KvmIrqError ? error : unreadable(path, error);
    }
    await replay.end();
    return 0;
  };
}

/** Puts events into a sink once those that come a little later were seen: they may tell what an event is about. */
class Replay {
  readonly parser: TraceParser;
  readonly #sink: TraceSink;
  readonly #filter: EventFilter;
  #read: TraceEvent[] = [];
  #learned: Learned | undefined;
  #begun = false;
  #isDirect = false;

  constructor(sink: TraceSink, filter: EventFilter) {
    this.#sink = sink;
    this.#filter = filter;
    this.parser = new TraceParser((event) => (this.#isDirect ? sink.push(event) : this.#read.push(event)));
  }

  /** @returns whether there was enough to hand on. */
  handOn(): boolean {
    if (this.#isDirect) return true;
    if (this.#read.length < LOOK_AHEAD) return false;
    this.#learn();
    return true;
  }

  async end(): Promise<void> {
    this.#learn();
    this.#learn();
    await this.#sink.end(this.parser.summary);
  }

  #learn(): void {
    const before = this.#learned;
    this.#learned = this.#filter.learn(this.#read);
    this.#read = [];
    if (before === undefined) return;
    if (!this.#begun) this.#sink.begin(this.parser.header);
    this.#begun = true;
    for (const event of this.#filter.pick(before)) this.#sink.push(event);
    // A trace that is longer than this is a trace; where nothing is sorted out, nothing waits any more.
    if (this.#filter.takesAll && !this.#isDirect) {
      this.#isDirect = true;
      this.#learn();
    }
  }
}

/** Lines in lists, since one by one they would take longer. @param checkRest gets how long a line without end is. */
async function* linesOf(
  chunks: AsyncIterable<Buffer>,
  checkRest: (bytes: number) => void,
): AsyncGenerator<string[]> {
  let rest: Buffer = Buffer.alloc(0);
  let isFirst = true;
  for await (const chunk of chunks) {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    const end = bytes.lastIndexOf("\n") + 1;
    rest = bytes.subarray(end);
    checkRest(rest.length);
    if (end === 0) continue;
    yield textOf(bytes.subarray(0, end - 1), isFirst).split("\n");
    isFirst = false;
  }
  if (rest.length > 0) yield [textOf(rest, isFirst)];
}

/** Some editors and shells begin every file with a byte order mark. */
function textOf(bytes: Buffer, isFirst: boolean): string {
  const text = bytes.toString("utf8");
  return isFirst ? text.replace(/^\ufeff/, "") : text;
}
