import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { haveQemu } from "../support/attach.ts";
import { PROGRAM, User } from "../support/cli.ts";
import { controlsIn, HOSTILE } from "../support/hostile.ts";
import { Qemu } from "../support/qemu.ts";
import { haveTmux, Terminal } from "../support/terminal.ts";

const user = new User();
const folder = join(user.folder, "files");
const file = (name: string) => join(folder, name);
let snapshot: string;

beforeAll(() => {
  mkdirSync(folder);
  user.ok(["create", "--backend", "model", "--vcpus", "1"]);
  snapshot = user.ok(["dump", "--json"]);
});
afterAll(() => {
  rmSync(folder, { recursive: true });
  expect(user.dispose()).toEqual([]);
});

/** Colours as chalk makes them, one at a time: none of them is in {@link HOSTILE}. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: that is what colours are made of
const OUR_COLOURS = /\u001b\[\d+m/g;

/** Runs the program and looks at all that it says. */
function sees(args: readonly string[], input = ""): string {
  const { status, stdout, stderr } = user.run(args, { input, env: { FORCE_COLOR: "1" } });
  const output = (stdout + stderr).replace(OUR_COLOURS, "");
  expect({ args, controls: controlsIn(output) }).toEqual({ args, controls: [] });
  expect(status, stderr).not.toBe(5);
  return output;
}

/** A snapshot of somebody else, whose every free text is that. */
function snapshotSaying(text: string): string {
  const value = JSON.parse(snapshot);
  return JSON.stringify({
    ...value,
    captured_at: text,
    source: { kind: "process", backend: text, name: text, command: text },
    host: { ...value.host, kernel: text },
    guest: { program: "pic", running: false, ended: text, handled: [] },
  });
}

/** A trace of somebody else, whose every free text is that. */
function traceSaying(text: string): string {
  const event = (name: string, args: object) => ({
    time: 1,
    cpu: 0,
    pid: 7,
    comm: text,
    process: 7,
    event: name,
    args,
  });
  return [
    {
      format: "kvm-irq.trace",
      version: 1,
      started_at: text,
      kernel: text,
      clock: text,
      clock_origin: "0",
      events: [text],
      missing: [text],
    },
    event(text, { [text]: text }),
    event("kvm_set_irq", { gsi: 4, level: 1, irq_source_id: 0 }),
    event("kvm_ioapic_set_irq", { pin: text, e: 0x34, coalesced: false }),
    { summary: { events: 3, lost: 0, duration: 5 } },
  ]
    .map((line) => `${JSON.stringify(line)}\n`)
    .join("");
}

const control = fc.string({
  unit: fc.constantFrom(
    "\u001b",
    "[",
    "]",
    "3",
    "1",
    "m",
    ";",
    "\u0007",
    "\u009b",
    "\u0090",
    "\n",
    "\r",
    "\u202e",
    "a",
  ),
  minLength: 1,
  maxLength: 20,
});
const TEXTS = [HOSTILE, ...fc.sample(control, { numRuns: 2, seed: 10 })];

describe("text of others", () => {
  it.each(TEXTS)("in a snapshot reaches nobody's terminal: %j", (text) => {
    writeFileSync(file("snapshot.json"), snapshotSaying(text));
    writeFileSync(file("plain.json"), snapshot);
    const from = ["--snapshot", file("snapshot.json")];
    sees([...from, "dump"]);
    sees([...from, "watch"]);
    sees([...from, "explain", "4"]);
    sees([...from, "explain"]);
    sees(["diff", file("snapshot.json"), file("plain.json")]);
    const json = sees([...from, "dump", "--json"]);
    expect(JSON.parse(json).host.kernel).toBe(text);
  });

  it.each(TEXTS)("in a trace reaches no terminal, and no picture of it: %j", (text) => {
    writeFileSync(file("t.ndjson"), traceSaying(text));
    for (const format of ["table", "ndjson", "vcd", "perfetto", "svg"]) {
      sees(["trace", "--from", file("t.ndjson"), "--format", format]);
      user.ok(["trace", "--from", file("t.ndjson"), "--format", format, "-o", file("out")]);
      expect(controlsIn(readFileSync(file("out"), "utf8"))).toEqual([]);
    }
    const [header] = user.ok(["trace", "--from", file("t.ndjson"), "--json"]).split("\n");
    expect(JSON.parse(header!).kernel).toBe(text);
  });

  it("ends no section of a value change dump", () => {
    writeFileSync(file("t.ndjson"), traceSaying("6.1 $end $scope"));
    const vcd = user.ok(["trace", "--from", file("t.ndjson"), "--format", "vcd"]);
    expect(vcd).toMatch(/^\$date 6\.1 _end _scope \$end$/m);
  });

  it.each(TEXTS)("in a file's name, an argument and a script is shown as escapes: %j", (text) => {
    const path = file(text.replaceAll("/", ""));
    writeFileSync(path, snapshot);
    sees(["--snapshot", path, "dump"]);
    sees(["--snapshot", `${path}.not`, "dump"]);
    sees(["--snapshot", path, "pulse", "4"]);
    sees(["create", text]);
    sees(["dump", "-o", `${file("none")}/${text}`]);
    sees([text]);
    sees(["run", `${path}.not`]);
    sees(["expect", text]);
    writeFileSync(path, `dump '${text}'\n`);
    sees(["run", path]);
    sees(["restore", path]);
    writeFileSync(path, "expect pic1.imr=0\n");
    for (const format of ["text", "tap", "junit"]) {
      sees(["run", path, "--backend", "model", "--format", format]);
      sees(["run", path, "--backend", "model", "--dry-run"]);
    }
  });
});

/** The question whether to change a VM, at a terminal. */
async function asks(pid: string): Promise<void> {
  const terminal = new Terminal(200, 20);
  try {
    terminal.run(`${process.execPath} ${PROGRAM} --pid ${pid} pulse 4`, user.env, folder);
    await terminal.shows(/guest 'x\\x1b\]0;owned.*Go on\?/);
  } finally {
    terminal.dispose();
  }
}

describe.runIf(haveQemu)("the name of a guest and of its process (needs QEMU and /dev/kvm)", () => {
  it("reach no terminal of those who look", async () => {
    const qemu = await Qemu.start("-name", `guest=${HOSTILE},process=${HOSTILE.slice(1, 9)}`);
    try {
      const pid = String(qemu.pid);
      expect(sees(["list"])).toContain("\\x1b]0;owned");
      expect(sees(["--pid", pid, "dump", "--chip", "pic"])).toContain("\\x1b]0;owned");
      sees(["--pid", pid, "explain", "4"]);
      // Without a terminal that could be asked, the message has the question's words.
      expect(sees(["--pid", pid, "pulse", "4"])).toContain("\\x1b]0;owned");
      if (haveTmux) await asks(pid);
      const listed = JSON.parse(sees(["list", "--json"]));
      expect(JSON.stringify(listed)).toContain(JSON.stringify(HOSTILE).slice(1, -1));
    } finally {
      await qemu.end();
    }
  });
});
