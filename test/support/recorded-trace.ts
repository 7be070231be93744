import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import type { TraceEvent } from "../../src/tracefs/event.ts";
import { argsReader, parseEventFormat } from "../../src/tracefs/format.ts";
import { parsePageLayout } from "../../src/tracefs/page.ts";
import { RecordDecoder } from "../../src/tracefs/records.ts";

/** What a kernel's tracefs held: its description of itself, and pages of `trace_pipe_raw` (gzip, base64). */
interface RecordedTrace {
  formats: Record<string, string>;
  header_page: string;
  header_event: string;
  runs: Record<string, { cpu: number; pages: string[] }[]>;
}

/**
 * The recording of a guest that takes interrupts, on Linux 6.12 with SVM. Its runs:
 *
 * - `pic-edge`: two pulses of GSI 4 through the PIC, vectors from 0x20 on;
 * - `ioapic-edge`: two pulses of GSI 4 through the IOAPIC, vector 52;
 * - `ioapic-level`: GSI 10 up until handled, then down, vector 58, EOI at the end of the handler;
 * - `ioapic-level-without-eoi`: the same with a handler that forgets the EOI;
 * - `masked`: a pulse of GSI 10, masked in both chips;
 * - `msi`: one MSI of vector 96;
 * - `pic-level`: GSI 10 up until handled, then down, through both PICs; the handler ends it at PIC1 only.
 */
export const SVM: RecordedTrace = JSON.parse(
  readFileSync(new URL("../fixtures/trace/svm-6.12.json", import.meta.url), "utf8"),
);

export const SVM_LAYOUT = parsePageLayout(SVM.header_page, SVM.header_event);

/** The pages of one run, CPU by CPU. */
export function pagesOf(run: string): { cpu: number; page: Uint8Array }[] {
  const buffers = SVM.runs[run];
  if (buffers === undefined) throw new Error(`there is no run ${run}`);
  return buffers.flatMap(({ cpu, pages }) =>
    pages.map((page) => ({ cpu, page: gunzipSync(Buffer.from(page, "base64")) })),
  );
}

/** The events of one run in the order of time, the first one at 0; every thread is of process 100. */
export function eventsOf(run: string): TraceEvent[] {
  const decoder = new RecordDecoder(SVM_LAYOUT, { get: () => ({ comm: "guest", process: 100 }) });
  for (const text of Object.values(SVM.formats)) {
    const format = parseEventFormat(text);
    decoder.add(format, argsReader(format));
  }
  const events: TraceEvent[] = [];
  for (const { cpu, page } of pagesOf(run)) decoder.decode(page, cpu, events);
  events.sort((one, other) => one.time - other.time);
  const start = events[0]?.time ?? 0;
  return events.map((event) => ({ ...event, time: event.time - start }));
}
