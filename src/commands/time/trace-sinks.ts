import { KvmIrqError } from "../../abi/error.ts";
import type { Events } from "../../arch/arch.ts";
import { type TraceFormat as Form, TRACES, type WholeTrace } from "../../exports/index.ts";
import type { Chain } from "../../lives/chain.ts";
import { joinAll } from "../../lives/joiner.ts";
import type { ChainStatistics } from "../../lives/statistics.ts";
import { FirstChains, Tally } from "../../lives/tally.ts";
import { wavesOf } from "../../lives/waves.ts";
import { count } from "../../text/format.ts";
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
  if (format === "table") return tableSink(view, statsOnly, events, write);
  if (statsOnly) return jsonStatisticsSink(events, write);
  const form: Form = TRACES[format];
  return "stream" in form ? form.stream(write) : pictureSink(form.whole, events, write);
}

/** The most interrupts whose lives are listed, and the most unfinished ones in JSON. */
const MOST_LISTED = 10_000;

/** Events as they come, then the interrupts, and what they come to. */
function tableSink(view: View, statsOnly: boolean, { detail, joiner }: Events, write: Write): TraceSink {
  const rows = eventRows(view, detail);
  const tally = new Tally();
  const listed = new FirstChains(MOST_LISTED);
  const joined = joiner((chain) => {
    tally.add(chain);
    if (!statsOnly) listed.add(chain);
  });
  let events = 0;
  return {
    begin() {
      if (!statsOnly) write(`${rows.heading()}\n`);
    },
    push(event) {
      events++;
      joined.push(event);
      if (!statsOnly) write(`${rows.row(event)}\n`);
    },
    end(summary) {
      joined.finish();
      if (!statsOnly) {
        const chains = joined.numbered(listed.kept);
        write(chains.length === 0 ? "\n" : `\n${renderChains(chains, view)}\n`);
        const more = listed.count - chains.length;
        if (more > 0) write(`${count(more, "more interrupt")} not listed\n\n`);
      }
      write(renderStatistics(tally, { events, summary }, view));
    },
  };
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

function jsonStatisticsSink({ joiner }: Events, write: Write): TraceSink {
  const tally = new Tally();
  const unfinished = new FirstChains(MOST_LISTED);
  const joined = joiner((chain) => {
    tally.add(chain);
    if (chain.outcome === "unfinished") unfinished.add(chain);
  });
  let trace: TraceHeader;
  return {
    begin(header) {
      trace = header;
    },
    push: (event) => joined.push(event),
    end(summary) {
      joined.finish();
      const result: TraceStatistics = {
        trace,
        summary,
        interrupts: tally.outcomes,
        statistics: tally.statistics(),
        unfinished: joined.numbered(unfinished.kept),
      };
      write(`${JSON.stringify(result)}\n`);
    },
  };
}

/** A picture is made from the whole trace, which takes some 700 bytes an event. */
const MOST_DRAWN = 500_000;

function pictureSink(
  draw: (trace: WholeTrace) => Promise<Iterable<string>>,
  { joiner, lineOf, detail }: Events,
  write: Write,
): TraceSink {
  const events: TraceEvent[] = [];
  let header: TraceHeader;
  return {
    begin(first) {
      header = first;
    },
    push(event) {
      if (events.length === MOST_DRAWN) {
        throw new KvmIrqError("unsupported", `a picture takes at most ${MOST_DRAWN} events`, {
          hint: "narrow it with --gsi, --vector or --for, or use --json or --stats-only, which take any number",
        });
      }
      events.push(event);
    },
    async end(summary) {
      const chains = joinAll(joiner, events);
      const waves = wavesOf(events, chains, lineOf);
      for (const piece of await draw({ header, events, summary, chains, waves, detail })) write(piece);
    },
  };
}
