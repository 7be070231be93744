import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { HOST_ARCH } from "../../../src/arch/arches.ts";
import { sinkFor } from "../../../src/commands/time/trace-sinks.ts";
import { TRACES, type TraceFormat } from "../../../src/exports/index.ts";
import { plainView } from "../../../src/text/view.ts";
import type { TraceEvent } from "../../../src/tracefs/event.ts";

const formats = TRACES as Record<string, TraceFormat>;
const HEADER = { kernel: "6.0", started_at: "2026-01-01T00:00:00.000Z" } as never;
const EVENT: TraceEvent = {
  time: 1,
  cpu: 0,
  pid: 7,
  comm: "vmm",
  process: 7,
  event: "kvm_eoi",
  args: { apicid: 0, vector: 0x34 },
};
/** What a whole trace may have. */
const MOST = 500_000;

/** Formats that nobody has written yet, one of each kind: a row of the table is all that there is of them. */
beforeAll(() => {
  formats["counted"] = {
    async stream(write) {
      let count = 0;
      return {
        begin: () => write("begin "),
        push: () => void (++count % MOST === 0 && write(`${count} `)),
        end: () => write(`end ${count}`),
      };
    },
  };
  formats["drawn"] = { whole: async ({ events }) => [`${events.length} events`] };
});
afterAll(() => {
  delete formats["counted"];
  delete formats["drawn"];
});

async function open(format: string) {
  let text = "";
  const events = await HOST_ARCH.events();
  const sink = await sinkFor(format as never, false, plainView(), events, (piece) => {
    text += piece;
  });
  sink.begin(HEADER);
  return { sink, text: () => text };
}

describe("a format of traces", () => {
  it("is written as events come, any number of them, where it says so", async () => {
    const { sink, text } = await open("counted");
    for (let n = 0; n <= MOST; n++) sink.push(EVENT);
    expect(text()).toBe(`begin ${MOST} `);
    await sink.end(null);
    expect(text()).toBe(`begin ${MOST} end ${MOST + 1}`);
  });

  it("is made from the whole trace, of as many events as fit into memory, where it says so", async () => {
    const { sink, text } = await open("drawn");
    sink.push(EVENT);
    expect(text()).toBe("");
    await sink.end(null);
    expect(text()).toBe("1 events");
    const long = (await open("drawn")).sink;
    for (let n = 0; n < MOST; n++) long.push(EVENT);
    expect(() => long.push(EVENT)).toThrow("a picture takes at most 500000 events");
  });

  it("is written line by line as NDJSON", async () => {
    const { sink, text } = await open("ndjson");
    sink.push(EVENT);
    expect(text().split("\n")).toEqual([
      expect.stringContaining('"format":"kvm-irq.trace"'),
      JSON.stringify(EVENT),
      "",
    ]);
  });
});
