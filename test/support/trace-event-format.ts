import * as v from "valibot";

/** "Trace Event Format", the document behind chrome://tracing, for the phases that are used. */
const number = v.pipe(v.number(), v.finite());
const timed = { pid: number, tid: number, ts: number, name: v.string() };
const chromeEvent = v.variant("ph", [
  v.object({
    ph: v.literal("M"),
    name: v.picklist(["process_name", "thread_name"]),
    pid: number,
    tid: number,
    args: v.object({ name: v.string() }),
  }),
  v.object({ ph: v.literal("i"), ...timed, cat: v.string(), s: v.picklist(["g", "p", "t"]) }),
  v.object({ ph: v.picklist(["b", "e"]), ...timed, cat: v.string(), id: v.string() }),
  v.object({ ph: v.literal("C"), ...timed, args: v.record(v.string(), number) }),
]);

/** Checks that something is a trace in that format. @returns it. @throws what is wrong with it. */
export function chromeTrace(value: unknown): { traceEvents: v.InferOutput<typeof chromeEvent>[] } {
  return v.parse(v.object({ traceEvents: v.array(chromeEvent) }), value);
}
