import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { events as x86 } from "../../src/arch/x86/events/facet.ts";
import { detailOf } from "../../src/arch/x86/events/rows.ts";
import { chainsOf } from "../../src/arch/x86/lives/chains.ts";
import { eventLine, headerLine, readTrace, summaryLine } from "../../src/exports/ndjson.ts";
import { perfetto } from "../../src/exports/perfetto.ts";
import { svg, timeline } from "../../src/exports/svg.ts";
import { vcd } from "../../src/exports/vcd.ts";
import { type Wave, wavesOf } from "../../src/lives/waves.ts";
import { has } from "../support/commands.ts";
import { eventsOf, SVM } from "../support/recorded-trace.ts";
import { chromeTrace } from "../support/trace-event-format.ts";
import { accept, ack, msi, pic, trace } from "../support/trace-events.ts";

const HEADER = {
  started_at: "2026-01-01T00:00:00.000Z",
  kernel: "6.12.117",
  clock: "mono",
  clock_origin: "123456789012345678",
  events: ["kvm_set_irq"],
  missing: [],
};
const RUNS = Object.keys(SVM.runs);
const wavesOfRun = (run: string) => wavesOf(eventsOf(run), chainsOf(eventsOf(run)), x86.lineOf);
const folder = mkdtempSync(join(tmpdir(), "kvm-irq-trace-"));
afterAll(() => rmSync(folder, { recursive: true }));

describe("NDJSON", () => {
  const lines = (text: string) => text.split("\n");

  test.each(RUNS)("gives back what it was given: %s", async (run) => {
    const events = eventsOf(run);
    const summary = { events: events.length, lost: 0, duration: 5 };
    const text = headerLine(HEADER) + events.map(eventLine).join("") + summaryLine(summary);
    expect(await readTrace(lines(text))).toEqual({ header: HEADER, events, summary });
  });

  test("of a trace that was cut off has no summary", async () => {
    expect((await readTrace(lines(headerLine(HEADER)))).summary).toBeNull();
  });

  test.each([
    ["", "line 1 is not of a kvm-irq trace: it is empty"],
    ["hello", "line 1 is not of a kvm-irq trace: it is not JSON"],
    ['{"format":"kvm-irq.snapshot"}', "line 1 is not of a kvm-irq trace: format:"],
    [`${headerLine(HEADER)}{"time":"now"}`, "line 2 is not of a kvm-irq trace: time:"],
    [
      `${headerLine(HEADER)}${eventLine(eventsOf(RUNS[0]!)[0]!).replace(/"args":\{.*\}/, '"args":{"e":1e400}}')}`,
      "line 2 is not of a kvm-irq trace: args.e: ",
    ],
    [`${headerLine(HEADER)}{"summary":{"events":-1}}`, "line 2 is not of a kvm-irq trace: summary."],
  ])("that is none is refused with its line: %j", async (text, message) => {
    await expect(readTrace(lines(text))).rejects.toMatchObject({
      code: "bad-input",
      message: expect.stringContaining(message),
    });
  });
});

describe("VCD", () => {
  const dump = (run: string) => [...vcd(HEADER, wavesOfRun(run), { duration: 20_000_000 })].join("");

  test("has lines as wires and vectors as buses", () => {
    const text = dump("ioapic-edge");
    expect(text).toContain("$scope module vm_100 $end\n$var wire 1 ! gsi4 $end\n");
    expect(text).toContain('$var wire 8 " apic0_irr [7:0] $end\n');
    expect(text).toContain('#368095\nb110100 "\n');
    expect(text.endsWith("#20000000\n")).toBe(true);
  });

  test("names more waves than there are printable characters", () => {
    const waves: Wave[] = Array.from({ length: 9000 }, (_, index) => ({
      scope: "vm_1",
      name: `gsi${index}`,
      kind: "line",
      changes: [],
    }));
    const ids = [...vcd(HEADER, waves, null)].join("").match(/(?<=\$var wire 1 )\S+/g);
    expect(new Set(ids).size).toBe(9000);
  });

  test.skipIf(!has("vcd2fst"))("opens in GTKWave's own reader, with every change", () => {
    for (const run of RUNS) {
      const file = join(folder, `${run}.vcd`);
      writeFileSync(file, dump(run));
      execFileSync("vcd2fst", [file, `${file}.fst`]);
      const back = execFileSync("fst2vcd", [`${file}.fst`], { encoding: "utf8" });
      const changes = wavesOfRun(run).flatMap(({ changes }) => changes);
      for (const { time } of changes) if (time > 0) expect(back).toContain(`#${time}\n`);
    }
  });

  test.skipIf(!has("sigrok-cli"))("opens in sigrok", () => {
    const file = join(folder, "sigrok.vcd");
    writeFileSync(file, dump("ioapic-edge"));
    const shown = execFileSync("sigrok-cli", ["-I", "vcd", "-i", file, "--show"], { encoding: "utf8" });
    expect(shown).toContain("gsi4");
  });
});

describe("Chrome trace JSON", () => {
  test.each(RUNS)("is as the trace event format wants it: %s", (run) => {
    const events = eventsOf(run);
    const chains = chainsOf(events);
    const text = [...perfetto(events, chains, wavesOfRun(run), detailOf)].join("");
    const { traceEvents } = chromeTrace(JSON.parse(text));
    const open = new Map<string, string[]>();
    for (const event of traceEvents) {
      if (event.ph !== "b" && event.ph !== "e") continue;
      const stack = open.get(event.id) ?? [];
      open.set(event.id, stack);
      if (event.ph === "b") stack.push(event.name);
      else expect(stack.pop()).toBe(event.name);
    }
    expect([...open.values()].flat()).toEqual([]);
    expect(open.size).toBe(chains.length);
    expect(traceEvents.filter(({ ph }) => ph === "i")).toHaveLength(events.length);
  });
});

describe("the timing diagram", () => {
  test("has a column for each moment at which something changes", () => {
    expect(timeline(wavesOfRun("msi"))).toEqual({
      columns: ["0", "3.202ms", "4.065ms"],
      left: 0,
      rows: [
        { name: "apic0_irr", kind: "bus", values: [null, "0x60", null, undefined] },
        { name: "apic0_isr", kind: "bus", values: [null, undefined, "0x60", null] },
      ],
    });
  });

  test("says how much it leaves out", () => {
    const changes = Array.from({ length: 50 }, (_, time) => ({ time, value: (time + 1) % 2 }));
    const waves: Wave[] = [{ scope: "vm_1", name: "gsi4", kind: "line", changes }];
    expect(timeline(waves).rows[0]!.values).toHaveLength(49);
    expect(svg("", waves)).toContain(">2 more changes are not shown<");
  });

  test("is an SVG that a renderer takes", () => {
    const picture = svg("GSI 10 & <others>", wavesOfRun("ioapic-level"));
    expect(picture).toMatch(/^<svg /);
    expect(picture).toContain("<title>GSI 10 &amp; &lt;others&gt;</title>");
    if (!has("rsvg-convert")) return;
    const file = join(folder, "x.svg");
    writeFileSync(file, picture);
    execFileSync("rsvg-convert", [file, "-o", `${file}.png`]);
    expect(readFileSync(`${file}.png`).subarray(1, 4).toString()).toBe("PNG");
  });
});

test("an event is told in few words", () => {
  expect(eventsOf("ioapic-edge").slice(0, 8).map(detailOf)).toEqual([
    "gsi 4 level 1",
    "apic 0 vector 0x34 edge",
    "pin 4 vector 0x34 edge, fixed to physical 0",
    "pic1 pin 4 edge masked",
    "gsi 4 level 0",
    "pin 4 vector 0x34 edge, fixed to physical 0",
    "pic1 pin 4 edge masked",
    "vector 0x34",
  ]);
  expect(eventsOf("msi").map(detailOf)[0]).toBe("vector 0x60 address 0xfee00000 data 0x60");
  expect(eventsOf("ioapic-level").map(detailOf)).toContain("ioapic pin 10");
  // The mode only of what is not delivered by vector.
  expect(
    trace(msi(0x61, { mode: 4 }), accept(0x61, { dm: 0x400 }), accept(0x61, { dm: 0x100 })).map(detailOf),
  ).toEqual([
    "vector 0x61 address 0xfee00000 data 0x461, nmi",
    "apic 0 vector 0x61 edge, nmi",
    "apic 0 vector 0x61 edge",
  ]);
  // KVM counts the slave's pins from 0 when they are set, and from 8 when they are acknowledged.
  expect(trace(pic(10), ack(1, 10)).map(detailOf)).toEqual(["pic2 pin 2 edge", "pic2 pin 2"]);
});
