import { printable } from "../abi/printable.ts";
import type { Chain } from "../lives/chain.ts";
import type { Wave } from "../lives/waves.ts";
import type { TraceEvent, TraceHeader, TraceSink, TraceSummary } from "../tracefs/event.ts";
import type { ReportedTest } from "./reported-test.ts";

/** Formats of the world that the program writes: a file and a row here for each, loaded when it is asked for. */

/** A trace as a whole, for those who draw it. */
export interface WholeTrace {
  header: TraceHeader;
  events: readonly TraceEvent[];
  /** `null` when the trace was cut off before its end. */
  summary: TraceSummary | null;
  chains: readonly Chain[];
  waves: readonly Wave[];
  /** What an event says, in few words. */
  detail: (event: TraceEvent) => string;
}

/** How a format is written: event by event, or from the whole trace, piece by piece; that has to fit into memory. */
export type TraceFormat =
  | { stream(write: (piece: string) => void): Promise<TraceSink> }
  | { whole(trace: WholeTrace): Promise<Iterable<string>> };

export const TRACES = {
  ndjson: { stream: async (write) => (await import("./ndjson.ts")).ndjsonSink(write) },
  vcd: {
    whole: async ({ header, waves, summary }) => (await import("./vcd.ts")).vcd(header, waves, summary),
  },
  perfetto: {
    whole: async ({ events, chains, waves, detail }) =>
      (await import("./perfetto.ts")).perfetto(events, chains, waves, detail),
  },
  svg: {
    async whole({ header: { kernel, started_at }, waves }) {
      const { svg } = await import("./svg.ts");
      return [svg(printable(`Linux ${kernel}, ${started_at}`), waves), "\n"];
    },
  },
} satisfies Record<string, TraceFormat>;

/** The steps of a script as a report. */
export interface StepsReport {
  /** What the steps are of. */
  label: string;
  tests: readonly ReportedTest[];
  /** Why the script was given up, if it was. */
  bailOut?: string | undefined;
}

/** Reports for CI systems. */
export const REPORTS = {
  tap: async ({ tests, bailOut }) => (await import("./tap.ts")).renderTap(tests, bailOut),
  junit: async ({ label, tests }) => (await import("./junit.ts")).renderJunit(label, tests),
} satisfies Record<string, (report: StepsReport) => Promise<string>>;
export type ReportFormat = keyof typeof REPORTS;
