import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { eventLine, headerLine, summaryLine } from "../../src/exports/ndjson.ts";
import { PROGRAM, User } from "../support/cli.ts";
import { has } from "../support/commands.ts";
import { eventsOf, SVM } from "../support/recorded-trace.ts";
import { haveTmux, Terminal } from "../support/terminal.ts";
import { chromeTrace } from "../support/trace-event-format.ts";

const threadId = readdirSync("/proc/self/task").at(-1)!;

const user = new User();
const folder = mkdtempSync(join(tmpdir(), "kvm-irq-saved-"));
const file = (name: string) => join(folder, name);
const RUNS = Object.keys(SVM.runs);

/** A saved trace of a guest on Linux 6.12 with SVM, which tells of every step. */
function saved(run: string): string {
  const events = eventsOf(run);
  const header = {
    started_at: "2026-01-01T00:00:00.000Z",
    kernel: "6.12.117",
    clock: "mono",
    clock_origin: "1",
    events: Object.keys(SVM.formats),
    missing: [],
  };
  const summary = { events: events.length, lost: 0, duration: events.at(-1)!.time + 1 };
  return headerLine(header) + events.map(eventLine).join("") + summaryLine(summary);
}

beforeAll(() => {
  for (const run of RUNS) writeFileSync(file(`${run}.ndjson`), saved(run));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
  expect(user.dispose()).toEqual([]);
});

const show = (run: string, ...args: string[]) => user.ok(["trace", "--from", file(`${run}.ndjson`), ...args]);

describe("a saved trace", () => {
  it("may begin with a byte order mark", () => {
    const [run = ""] = RUNS;
    const input = `\ufeff${saved(run)}`;
    expect(user.ok(["trace", "--from", "-", "--format", "ndjson"], { input })).toBe(saved(run));
  });

  it.each(RUNS)("comes back as it was, from a file and from stdin: %s", (run) => {
    expect(show(run, "--json")).toBe(saved(run));
    expect(user.ok(["trace", "--from", "-", "--format", "ndjson"], { input: saved(run) })).toBe(saved(run));
  });

  it("of a level interrupt shows all its six steps in order, and each again while the line is up", () => {
    const shown = show("ioapic-level");
    const time = "\\+[\\d.]+[um]s";
    const life = `raised, ${["accepted", "injected", "eoi", "acknowledged", "lowered"].map((step) => `${time} ${step}`).join(", ")}`;
    expect(shown).toMatch(new RegExp(`^ 1 +0\\.000000 +10 +0x3a +ioapic +level +complete +${life}$`, "m"));
    expect(shown.match(/complete, again/g)).toHaveLength(10);
    expect(shown).toMatch(/^ +10 +0x3a +ioapic +eoi +acknowledged +11 /m);
    expect(shown).toMatch(/; 11 interrupts: 11 complete\n$/);
  });

  it("of a handler that forgets the EOI shows that it stopped there", () => {
    const shown = show("ioapic-level-without-eoi", "--stats-only");
    expect(shown).toMatch(
      /^ +10 +0x3a +ioapic +1 +0\.000000 +injected +the guest has not ended it: no EOI$/m,
    );
    expect(shown).not.toContain("kvm_set_irq");
    const { unfinished } = JSON.parse(show("ioapic-level-without-eoi", "--stats-only", "--json"));
    expect(unfinished).toMatchObject([{ gsi: 10, stopped: { at: "injected" } }]);
  });

  it("that was cut off is shown as far as it goes", () => {
    const input = saved("ioapic-edge").trimEnd().split("\n").slice(0, 5).join("\n");
    expect(user.ok(["trace", "--from", "-"], { input })).toMatch(
      /\n4 events \(cut off before its end\); 1 interrupt: 1 unfinished\n$/,
    );
  });

  it("can be narrowed to lines and vectors", () => {
    expect(show("ioapic-edge", "--gsi", "9", "--stats-only")).toMatch(/^0 events .*; 0 interrupts\n$/);
    expect(show("ioapic-edge", "--vector", "0x34", "--stats-only")).toMatch(/; 2 interrupts: 2 complete\n$/);
  });

  it.each([
    ["hello", "line 1 is not of a kvm-irq trace: it is not JSON"],
    ["", "line 1 is not of a kvm-irq trace: it is empty"],
    [`${saved("msi").split("\n").slice(0, 3).join("\n")}\n{"time":-`, "line 4 is not of a kvm-irq trace"],
    [`${saved("msi")}{"time":1}\n`, "is not of a kvm-irq trace: "],
  ])("that is none is refused with its line and status 6, and no file is left: %j", (input, message) => {
    for (const args of [[], ["--format", "svg", "-o", file("bad.out")], ["--json"]]) {
      const { status, stdout, stderr } = user.run(["trace", "--from", "-", ...args], { input });
      expect({ status, stdout }).toEqual({ status: 6, stdout: "" });
      expect(stderr).toContain(message);
    }
    expect(readdirSync(folder).filter((name) => name.startsWith("bad.out"))).toEqual([]);
  });

  it.each([
    ["a line without an end", `${saved("msi")}${"[".repeat(200_000)}`, "it is longer than 64 KiB"],
    ["a line that is long", `${saved("msi")}"${"x".repeat(70_000)}"\n`, "it is longer than 64 KiB"],
    [
      "a number that no event has",
      `${saved("msi")}${saved("msi").split("\n")[1]!.replace(/\d+/, "1e400")}\n`,
      "time: ",
    ],
  ])("with %s is refused with status 6 in one line", (_, input, why) => {
    const { status, stdout, stderr } = user.run(["trace", "--from", "-"], { input });
    expect({ status, stdout }).toEqual({ status: 6, stdout: "" });
    const number = saved("msi").split("\n").length;
    expect(stderr).toMatch(
      new RegExp(`^kvm-irq: line ${number} is not of a kvm-irq trace: ${why}.*\nhint: .*\n$`),
    );
  });

  it("of many interrupts is read in little memory, and has each of them", { timeout: 120_000 }, () => {
    const [header, ...rest] = saved("ioapic-edge").trimEnd().split("\n");
    const events = rest.slice(0, -1);
    const times = 6000;
    const body = `${events.join("\n")}\n`.repeat(times);
    writeFileSync(file("many.ndjson"), `${header}\n${body}`);
    const env = { NODE_OPTIONS: "--max-old-space-size=40" };
    const argv = ["trace", "--from", file("many.ndjson")];
    const { interrupts, statistics } = JSON.parse(user.ok([...argv, "--stats-only", "--json"], { env }));
    expect(interrupts).toEqual({ complete: 2 * times, coalesced: 0, posted: 0, unfinished: 0 });
    expect(statistics).toMatchObject([{ gsi: 4, complete: 2 * times, total: { count: 2 * times } }]);
    user.ok([...argv, "--json", "-o", file("again.ndjson")], { env });
    expect(readFileSync(file("again.ndjson"), "utf8")).toBe(readFileSync(file("many.ndjson"), "utf8"));
    user.ok([...argv, "-o", file("many.txt")], { env });
    const table = readFileSync(file("many.txt"), "utf8");
    expect(table).toMatch(/^2000 more interrupts not listed$/m);
    expect(table.match(/^ *\d+ .* complete +raised, /gm)).toHaveLength(10_000);
    expect(table).toMatch(/; 12000 interrupts: 12000 complete\n$/);
  });

  it("goes to standard output where that is named as the file", () => {
    expect(show("ioapic-edge", "-o", "-")).toBe(show("ioapic-edge"));
  });

  it("that is not there gets status 4", () => {
    expect(user.run(["trace", "--from", file("none")])).toMatchObject({ status: 4, stdout: "" });
  });
});

describe("pictures of a saved trace", () => {
  const vcd = (run: string) => show(run, "--format", "vcd", "-o", file("t.vcd"));

  it.skipIf(!has("vcd2fst"))("as VCD open in GTKWave's reader (skipped without vcd2fst)", () => {
    for (const run of RUNS) {
      vcd(run);
      execFileSync("vcd2fst", [file("t.vcd"), file("t.fst")]);
      const back = execFileSync("fst2vcd", [file("t.fst")], { encoding: "utf8" });
      expect(back).toMatch(run === "msi" ? /\$var wire 8 \S+ apic0_irr/ : /\$var wire 1 \S+ gsi\d+/);
    }
  });

  it.skipIf(!has("sigrok-cli"))(
    "as VCD open in sigrok, which takes the lines (skipped without sigrok-cli)",
    () => {
      vcd("ioapic-level");
      const argv = ["-I", "vcd", "-i", file("t.vcd"), "--show"];
      expect(execFileSync("sigrok-cli", argv, { encoding: "utf8" })).toMatch(/^- gsi10: logic$/m);
    },
  );

  it.each(RUNS)("as Perfetto JSON are as the trace event format wants them: %s", (run) => {
    const { traceEvents } = chromeTrace(JSON.parse(show(run, "--format", "perfetto")));
    expect(traceEvents.filter(({ ph }) => ph === "i")).toHaveLength(eventsOf(run).length);
  });

  it.skipIf(!has("rsvg-convert"))("as SVG can be rendered (skipped without rsvg-convert)", () => {
    for (const run of RUNS) {
      show(run, "--format", "svg", "-o", file("t.svg"));
      execFileSync("rsvg-convert", [file("t.svg"), "-o", file("t.png")]);
      expect(readFileSync(file("t.png")).subarray(1, 4).toString()).toBe("PNG");
    }
  });

  it("of the documentation is what the program draws", () => {
    expect(show("ioapic-edge", "--format", "svg")).toBe(
      readFileSync(new URL("../../docs/trace.svg", import.meta.url), "utf8"),
    );
  });
});

describe("trace --help and what it refuses", () => {
  it("says what the target is, and how it ends", () => {
    const help = user.ok(["trace", "--help"]);
    for (const word of ["--all", "130", "$ kvm-irq trace -- kvm-irq pulse 4"]) expect(help).toContain(word);
  });

  it.each([
    [["trace", "--json", "--format", "svg"], "--json is --format ndjson"],
    [["trace", "--stats-only", "--format", "vcd"], "--stats-only has no picture"],
    [["trace", "--all", "--pid", "1"], "--pid and --all name two targets"],
    [["trace", "--for", "1s", "--", "true"], "both say when to end"],
    [["trace", "--from", "x", "--all"], "--all is for recording"],
    [["trace", "--from", "x", "--", "true"], "a command is for recording"],
    [["trace", "--from", "x", "-s", "y"], "--session is for recording"],
    [["--snapshot", "x", "trace"], "a snapshot is a moment"],
    [["trace", "--pid", "1", "--vm-fd", "4"], "do not tell VMs of one process apart"],
    [["trace", "--gsi", "5000"], "is not routed"],
    [["trace", "--gsi", "x"], "is not a GSI"],
    [["trace", "--vector", "256"], "from 0 to 255"],
    [["trace", "--for", "2"], "a duration needs a unit"],
    [["trace", "--format", "pdf"], "allowed choices"],
    [["trace", "--buffer-kb", "0"], "from 4 to"],
  ])("%j is refused with status 2", (args, message) => {
    const { status, stdout, stderr } = user.run(args);
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    expect(stderr).toContain(message);
  });

  it.each([
    [["trace", "-s", "none"], "no session 'none'\nhint: `kvm-irq create` makes one; `kvm-irq trace --all`"],
    [["trace", "--pid", "4194304"], "there is no process 4194304"],
    [["trace", "--pid", threadId], `${threadId} is a thread of process ${process.pid}`],
  ])("%j is refused with status 4 and says what there is", (args, message) => {
    const { status, stderr } = user.run([...args, "--for", "10ms"]);
    expect(stderr).toContain(message);
    expect(status).toBe(4);
  });

  it("refuses a session of the software model, which the kernel knows nothing of", () => {
    user.ok(["create", "model", "--backend", "model"]);
    const { status, stderr } = user.run(["trace", "-s", "model", "--for", "10ms"]);
    expect(status).toBe(2);
    expect(stderr).toContain("software model");
  });
});

describe.skipIf(!haveTmux)("a trace on a terminal (of tmux)", () => {
  it.each([130, 80, 40])("of %d columns has no line that wraps", async (columns) => {
    const terminal = new Terminal(columns, 24);
    try {
      const line = `"${process.execPath}" "${PROGRAM}" trace --from ioapic-level.ndjson; echo "status $?"`;
      terminal.run(line, { ...user.env, NO_COLOR: "1" }, folder);
      await terminal.shows(/status 0/);
      const shown = terminal.history().split("\n");
      // One event a line, and nothing that ran over in between.
      const first = shown.findIndex((line) => /^ +TIME/.test(line)) + 1;
      for (const line of shown.slice(first, first + 53)) expect(line).toMatch(/^ +\d\.\d{6} .*kvm_/);
      expect(shown.filter((line) => line.includes("complete, again"))).toHaveLength(10);
      if (columns < 130)
        expect(shown).toContainEqual(expect.stringMatching(/^ {4}raised, \+105\.7us accepted,/));
    } finally {
      terminal.dispose();
    }
  });
});
