import { KvmIrqError } from "../../abi/error.ts";
import type { Events } from "../../arch/arch.ts";
import { type TraceFormat as Form, TRACES, type WholeTrace } from "../../exports/index.ts";
import type { Chain } from "../../lives/chain.ts";
import { type Joiner, joinAll } from "../../lives/joiner.ts";
import type { ChainStatistics } from "../../lives/statistics.ts";
import { FirstChains, Tally } from "../../lives/tally.ts";
import { wavesOf } from "../../lives/waves.ts";
import { count } from "../../text/format.ts";
import type { Rows } from "../../text/rows.ts";
import { eventRows } from "../../text/trace.ts";
import { renderChains } from "../../text/trace-chains.ts";
import { renderStatistics } from "../../text/trace-statistics.ts";
import type { View } from "../../text/view.ts";
import type { TraceEvent, TraceHeader, TraceSink, TraceSummary } from "../../tracefs/event.ts";
import type { TraceFormat } from "./trace-options.ts";

type Write = (piece: string) => void;

/** The sink for a format; with `statsOnly` that of a table is what the trace comes to, that of NDJSON the same as JSON. */
export async function sinkFor(
  format: TraceFormat,
  statsOnly: boolean,
  view: View,
  events: Events,
  write: Write,
): Promise<TraceSink> {
  if (format === "table") return new TableSink(view, statsOnly, events, write);
  if (statsOnly) return new JsonStatisticsSink(events, write);
  const form: Form = TRACES[format];
  return "stream" in form ? form.stream(write) : new PictureSink(form.whole, events, write);
}

/** The most interrupts whose lives are listed, and the most unfinished ones in JSON. */
const MOST_LISTED = 10_000;

/** Events as they come, then the interrupts, and what they come to. */
class TableSink implements TraceSink {
  readonly #view: View;
  readonly #statsOnly: boolean;
  readonly #write: Write;
  readonly #rows: Rows<TraceEvent>;
  readonly #tally = new Tally();
  readonly #listed = new FirstChains(MOST_LISTED);
  readonly #joiner: Joiner;
  #events = 0;

  constructor(view: View, statsOnly: boolean, events: Events, write: Write) {
    this.#view = view;
    this.#statsOnly = statsOnly;
    this.#write = write;
    this.#rows = eventRows(view, events.detail);
    this.#joiner = events.joiner((chain) => {
      this.#tally.add(chain);
      if (!statsOnly) this.#listed.add(chain);
    });
  }

  begin(): void {
    if (!this.#statsOnly) this.#write(`${this.#rows.heading()}\n`);
  }

  push(event: TraceEvent): void {
    this.#events++;
    this.#joiner.push(event);
    if (!this.#statsOnly) this.#write(`${this.#rows.row(event)}\n`);
  }

  end(summary: TraceSummary | null): void {
    this.#joiner.finish();
    if (!this.#statsOnly) {
      const chains = this.#joiner.numbered(this.#listed.kept);
      this.#write(chains.length === 0 ? "\n" : `\n${renderChains(chains, this.#view)}\n`);
      const more = this.#listed.count - chains.length;
      if (more > 0) this.#write(`${count(more, "more interrupt")} not listed\n\n`);
    }
    this.#write(renderStatistics(this.#tally, { events: this.#events, summary }, this.#view));
  }
}

/** What `trace --stats-only --json` prints. */
interface TraceStatistics {
  trace: TraceHeader;
  summary: TraceSummary | null;
  interrupts: Record<Chain["outcome"], number>;
  statistics: ChainStatistics[];
  /** The first {@link MOST_LISTED}; `interrupts` has the number of all. */
  unfinished: Chain[];
}

class JsonStatisticsSink implements TraceSink {
  readonly #write: Write;
  readonly #tally = new Tally();
  readonly #unfinished = new FirstChains(MOST_LISTED);
  readonly #joiner: Joiner;
  #header!: TraceHeader;

  constructor(events: Events, write: Write) {
    this.#write = write;
    this.#joiner = events.joiner((chain) => {
      this.#tally.add(chain);
      if (chain.outcome === "unfinished") this.#unfinished.add(chain);
    });
  }

  begin(header: TraceHeader): void {
    this.#header = header;
  }

  push(event: TraceEvent): void {
    this.#joiner.push(event);
  }

  end(summary: TraceSummary | null): void {
    this.#joiner.finish();
    const result: TraceStatistics = {
      trace: this.#header,
      summary,
      interrupts: this.#tally.outcomes,
      statistics: this.#tally.statistics(),
      unfinished: this.#joiner.numbered(this.#unfinished.kept),
    };
    this.#write(`${JSON.stringify(result)}\n`);
  }
}

/** A picture is made from the whole trace, which takes some 700 bytes an event. */
const MOST_DRAWN = 500_000;

function tooManyToDraw(): KvmIrqError {
  return new KvmIrqError("unsupported", `a picture takes at most ${MOST_DRAWN} events`, {
    hint: "narrow it with --gsi, --vector or --for, or use --json or --stats-only, which take any number",
  });
}

class PictureSink implements TraceSink {
  readonly #draw: (trace: WholeTrace) => Promise<Iterable<string>>;
  readonly #arch: Events;
  readonly #write: Write;
  readonly #events: TraceEvent[] = [];
  #header!: TraceHeader;

  constructor(draw: (trace: WholeTrace) => Promise<Iterable<string>>, arch: Events, write: Write) {
    this.#draw = draw;
    this.#arch = arch;
    this.#write = write;
  }

  begin(header: TraceHeader): void {
    this.#header = header;
  }

  push(event: TraceEvent): void {
    if (this.#events.length === MOST_DRAWN) throw tooManyToDraw();
    this.#events.push(event);
  }

  async end(summary: TraceSummary | null): Promise<void> {
    const [events, { lineOf, detail }] = [this.#events, this.#arch];
    const chains = joinAll(this.#arch.joiner, events);
    const trace = {
      header: this.#header,
      events,
      summary,
      chains,
      waves: wavesOf(events, chains, lineOf),
      detail,
    };
    for (const piece of await this.#draw(trace)) this.#write(piece);
  }
}
