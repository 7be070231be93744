import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parse, type TestSuites } from "junit2json";
import { Parser } from "tap-parser";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { finished, PROGRAM, type Result, User, until } from "../support/cli.ts";

const user = new User();
beforeAll(() => {
  user.ok(["create", "living", "--preset", "ioapic"]);
  user.ok(["create", "other", "--preset", "ioapic"]);
});
afterAll(() => {
  expect(user.dispose().filter((path) => !/\.(kvmirq|json|xml|tap|cjs)$/.test(path))).toEqual([]);
});

/** Writes a script. @returns its path. */
function script(name: string, ...lines: string[]): string {
  const path = join(user.folder, `${name}.kvmirq`);
  writeFileSync(path, `${lines.join("\n")}\n`);
  return path;
}
const run = (path: string, ...options: string[]) => user.run(["run", path, "--preset", "ioapic", ...options]);
const objects = (stdout: string) =>
  stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
/** GSIs 0 to 23 in turn, each pulsed and looked for. */
const longScript = (lines: number) =>
  Array.from({ length: lines / 2 }, (_, n) => `pulse ${n % 24}\nexpect lapic[0].irr=${0x30 + (n % 24)}`);

/** Ends a script by a signal while its third line, an `expect`, waits. Two more lines are behind it. */
async function interrupted(signal: NodeJS.Signals, ...options: string[]): Promise<Result> {
  const begun = join(user.folder, "begun.json");
  rmSync(begun, { force: true });
  const lines = ["expect pic1.irr=0", `dump --format json -o '${begun}'`, "expect pic1.irr=1 --timeout 1h"];
  const child = user.start(["run", script("waiting", ...lines, "pulse 5", "expect pic1.irr=2"), ...options]);
  const result = finished(child);
  await until("the second line has run", () => existsSync(begun));
  await sleep(200);
  child.kill(signal);
  return result;
}

describe("run", () => {
  it("runs a script's lines in order on a VM of its own, and leaves nothing behind", () => {
    const before = user.json(["list"]).sessions;
    const path = script(
      "order",
      "hold 20",
      "expect ioapic.irr&0x100000",
      "release 20",
      "expect ioapic.irr=0",
    );
    const { status, stdout, stderr } = run(path);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout.match(/^(GSI|ok)/gm)).toEqual(["GSI", "ok", "GSI", "ok"]);
    expect(user.json(["list"]).sessions).toEqual(before);
    // The next one starts from the preset again.
    expect(run(script("anew", "expect lapic[0].irr=[]")).status).toBe(0);
  });

  it("takes comments, blank lines and a shell's quotes", () => {
    const path = script(
      "words",
      "# a comment",
      "",
      "   \t",
      `  pulse '4'   "5" 1\\0   # three of them`,
      `expect 'lapic[0].irr=0x34' "lapic[0].irr=0x35"`,
      "dump --format json -o words.json#not-a-comment",
    );
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [PROGRAM, "run", path, "--preset", "ioapic", "--json"],
      { cwd: user.folder, env: user.env, encoding: "utf8" },
    );
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(objects(stdout).map(({ line, command }) => [line, command])).toEqual([
      [4, ["pulse", "4", "5", "10"]],
      [5, ["expect", "lapic[0].irr=0x34", "lapic[0].irr=0x35"]],
      [6, ["dump", "--format", "json", "-o", "words.json#not-a-comment"]],
    ]);
    rmSync(join(user.folder, "words.json#not-a-comment"));
  });

  it("joins a line that ends in a backslash with the next, and counts from the first", () => {
    const path = script(
      "joined",
      "pulse 4 \\",
      "  5 1\\",
      "0  # not in a comment \\",
      `expect 'lapic[0].irr=0x34' "lapic[0].\\`,
      'irr=0x35" \\',
      "",
      "expect \\\r",
      "  lapic[0].irr=0x99",
    );
    const { status, stdout } = run(path, "--json");
    expect(status).toBe(1);
    expect(objects(stdout).map(({ line, command }) => [line, command])).toEqual([
      [1, ["pulse", "4", "5", "10"]],
      [4, ["expect", "lapic[0].irr=0x34", "lapic[0].irr=0x35"]],
      [7, ["expect", "lapic[0].irr=0x99"]],
    ]);
    expect(run(path).stderr).toBe(`${path}:7: expect   lapic[0].irr=0x99: a condition does not hold\n`);
  });

  it("joins as many lines as there are, and refuses a line that no command can be", () => {
    const { stdout } = run(
      script("very-joined", "pulse \\", ...Array(20_000).fill("4 \\"), "4"),
      "--dry-run",
    );
    expect(stdout).toContain("1 command");
    const longer = script("longer", "pulse 4", `pulse ${"4 ".repeat(2 ** 20)}`);
    expect(run(longer)).toMatchObject({ status: 6, stdout: "" });
    expect(run(longer).stderr).toContain(`${longer}:2: the line has more than 1048576 characters`);
  });

  it.each(["\n", ""])("takes a backslash at the end of the script (%j) for a mistake", (end) => {
    const input = `pulse 4\nexpect \\\n  pic1.imr=0\\${end}`;
    const { status, stdout, stderr } = user.run(["run", "-"], { input });
    expect({ status, stdout }).toEqual({ status: 6, stdout: "" });
    expect(stderr).toContain("standard input:2: the script ends in a backslash");
  });

  it("stops at the first line that fails, with its status, and says where", () => {
    const path = script("fails", "pulse 4", "expect lapic[0].irr=0x99", "pulse 5");
    const { status, stdout, stderr } = run(path);
    expect(status).toBe(1);
    expect(stderr).toBe(`${path}:2: expect lapic[0].irr=0x99: a condition does not hold\n`);
    expect(stdout.match(/^GSI/gm)).toHaveLength(1);
  });

  it.each([
    ["a condition that does not hold", "expect pic1.irr=1", 1],
    ["a requirement that is not met", "pulse 4 --require coalesced", 1],
    ["an irqfd that is not there", "irqfd kick 5", 2],
    ["a file that is not there", "restore nowhere.json", 4],
    ["a bad snapshot", `restore ${JSON.stringify(PROGRAM)}`, 6],
  ])("ends %s with status %3$d as the command by itself does", (_, line, status) => {
    const path = script("status", line);
    expect(run(path).status).toBe(status);
    const words = line.replaceAll('"', "").split(" ");
    expect(user.run(["-s", "other", ...words]).status).toBe(status);
  });

  it("with --keep-going goes to the end, with the first failure's status", () => {
    const path = script("keep", "irqfd kick 5", "pulse 4", "expect lapic[0].irr=0x99", "pulse 5");
    const { status, stdout, stderr } = run(path, "--keep-going");
    expect(status).toBe(2);
    expect(stdout.match(/^GSI/gm)).toHaveLength(2);
    expect(stderr).toMatch(/^.*keep\.kvmirq:1: .*\nhint: .*\n.*keep\.kvmirq:3: .*\n$/);
  });

  it("with --json has the result of a line whatever the form that the line asks for", () => {
    const raw = join(user.folder, "raw.bin");
    const path = script(
      "forms",
      `dump --format raw --chip pic1 -o '${raw}'`,
      "dump --format table --chip pic1",
    );
    const { status, stdout, stderr } = run(path, "--json");
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const [file, table] = objects(stdout);
    expect(file).not.toHaveProperty("result");
    expect(readFileSync(raw)).toHaveLength(520);
    rmSync(raw);
    expect(table.result.chips.pic1.irq_base).toBe(0x20);
  });

  it("with --json gives an object a line: the command, its result, its status and its time", () => {
    const path = script("json", "pulse 20", "# nothing", "expect lapic[0].irr=0x44", "restore nowhere.json");
    const { status, stdout } = run(path, "--json");
    expect(status).toBe(4);
    expect(objects(stdout)).toEqual([
      {
        line: 1,
        command: ["pulse", "20"],
        status: 0,
        ms: expect.any(Number),
        result: { results: [expect.objectContaining({ gsi: 20, delivered: 1 })] },
      },
      {
        line: 3,
        command: ["expect", "lapic[0].irr=0x44"],
        status: 0,
        ms: expect.any(Number),
        result: expect.objectContaining({ met: true }),
      },
      {
        line: 4,
        command: ["restore", "nowhere.json"],
        status: 4,
        ms: expect.any(Number),
        error: expect.objectContaining({
          code: "no-file",
          message: "nowhere.json can't be read: there is no such file",
        }),
      },
    ]);
  });

  it("shows a line's result as JSON where the line says --json, whatever the command", () => {
    const path = script(
      "json-lines",
      "pulse 20 --json",
      "--json expect lapic[0].irr=0x44",
      "explain 20 --json --strict",
      "dump --chip pic1 --json",
      "route show --json",
      "pulse 4",
    );
    const { status, stdout, stderr } = run(path, "--keep-going");
    expect({ status, stderr }).toEqual({
      status: 1,
      stderr: `${path}:3: explain 20 --json --strict: status 1\n`,
    });
    const lines = stdout.split("\n");
    expect(objects(lines.slice(0, 5).join("\n"))).toMatchObject([
      { results: [{ gsi: 20, delivered: 1 }] },
      { met: true },
      { verdict: "held" },
      { format: "kvm-irq.snapshot" },
      { default: true },
    ]);
    expect(lines[5]).toMatch(/^GSI/);
    // With --json of the run itself there is nothing left to say.
    expect(objects(run(path, "--keep-going", "--json").stdout)).toHaveLength(6);
  });

  it("with --quiet shows what failed and nothing else", () => {
    const path = script("quiet", "pulse 4", "dump", "expect pic1.imr=0", "pulse 5");
    const { stdout, stderr } = run(path, "--quiet", "--keep-going");
    expect(stdout).toMatch(/^ +FIELD.*\nnot ok .*\n$/);
    expect(stderr).toContain(`${path}:3: `);
  });

  it("with --dry-run checks the whole script and runs nothing", () => {
    const path = script("dry", "pulse 4", "expect lapic[0].irr=0x99");
    expect(user.ok(["-s", "living", "run", path, "--dry-run"])).toBe(`${path}: 2 commands, no mistakes\n`);
    expect(user.json(["run", path, "--dry-run"])).toEqual({ script: path, commands: 2 });
    expect(user.json(["-s", "living", "dump"]).chips.lapic[0].irr).toEqual([]);
    const bad = script("dry-bad", "pulse 4", "expect lapic[1].svr=0");
    expect(user.run(["run", bad, "--dry-run"]).status).toBe(6);
    expect(user.run(["run", bad, "--dry-run", "--vcpus", "2"]).status).toBe(0);
    expect(user.run(["-s", "living", "run", bad, "--dry-run"]).status).toBe(6);
    expect(user.run(["-s", "nobody", "run", bad, "--dry-run"]).status).toBe(4);
  });

  it("with --dry-run opens no VM", () => {
    const path = script("no-kvm", "pulse 4", "expect lapic[3].svr=0");
    const hook = join(user.folder, "no-kvm.cjs");
    writeFileSync(hook, `process.dlopen = () => { throw new Error("no FFI here"); };`);
    const call = ["run", path, "--backend", "kvm", "--vcpus", "4"];
    const env = { NODE_OPTIONS: `--require=${hook}` };
    expect(user.run([...call, "--dry-run"], { env })).toMatchObject({ status: 0, stderr: "" });
    expect(user.run(call, { env }).status).not.toBe(0);
  });

  it("follows what a script's own `route` lines make of the routing", () => {
    const mistake = (...lines: string[]) => {
      const { status, stderr } = user.run(["run", script("routes", ...lines), "--dry-run"]);
      return status === 0 ? undefined : /kvmirq:(\d+: .*)\n/.exec(stderr)?.[1];
    };
    expect(mistake("route set default 30=msi:0xfee00000/0x41", "pulse 30", "pulse 4")).toBeUndefined();
    expect(mistake("pulse 4", "route set 4=ioapic:4", "pulse 4", "pulse 5")).toBe("4: GSI 5 is not routed");
    expect(mistake("route show", "pulse 24")).toBe("2: GSI 24 is not routed");
    expect(mistake("route set 30=msi:0xfee00000/0x41", "route reset", "pulse 4", "pulse 30")).toBe(
      "4: GSI 30 is not routed",
    );
  });

  it.each([
    ["a GSI that goes nowhere", "pulse 24", "GSI 24 is not routed"],
    ["an unknown command", "puls 4", "unknown command 'puls'"],
    ["an unknown option", "pulse 4 --loud", "unknown option '--loud'"],
    ["a bad value", "pulse 4 --count many", "--count"],
    ["a missing argument", "pulse", "missing required argument"],
    ["a path that is none", "expect pic1..irr=1", "is not a path"],
    ["a field that no chip has", "expect pic1.nope=1", "there is no pic1.nope"],
    ["the same in `set`", "set 'ioapic.redirtbl[4].msk=true'", "there is no ioapic.redirtbl[0].msk"],
    ["a value that its field can't have", "expect pic1.imr=zz", "pic1.imr is compared with a number"],
    ["an order of vectors", "expect 'lapic[0].irr>3'", "it can be compared with = and != alone"],
    ["an element too many", "expect ioapic.redirtbl[30].mask=true", "there is no ioapic.redirtbl[30]"],
    ["a vCPU too many", "expect lapic[3].svr=1", "session 'living' has no lapic[3]"],
    ["a value that is too large", "set pic1.imr=256", "pic1.imr: 256 is more than 255"],
    ["a vector that is too large", "set 'lapic[0].irr=4,300'", "lapic[0].irr[1]: 300 is more than 255"],
    ["what can't be set", "set vcpus[0].rip=1", "a vCPU's state can be read, not set"],
    ["a chip too many", "dump --chip lapic[7]", "session 'living' has no lapic[7]"],
    ["the same in `restore`", "restore x.json --chip lapic[7]", "session 'living' has no lapic[7]"],
    ["no message", "msi", "an MSI is --address and --data"],
    ["a message to nowhere", "msi --address 0 --data 1", "0x0 is not the address of an MSI"],
    ["an irqfd of nothing", "irqfd bind", "`irqfd bind` needs a GSI"],
    ["an irqfd that goes nowhere", "irqfd bind 24", "GSI 24 is not routed"],
    ["routes where none belong", "route show 4", "`route show` takes no routes"],
    ["a pin that is not there", "route set 4=ioapic:99", "ioapic has no pin 99"],
    ["a layout of no file", "dump --layout x86", "--layout is for the raw bytes of a --snapshot"],
    ["a time for nothing", "pulse 4 --timeout 3s", "--timeout goes with --require handled"],
    ["a wait for no guest", "pulse 4 --require handled", "has no guest"],
    ["an open quote", `expect "pic1.irr=1`, 'a quote (") is not closed'],
    ["a script in a script", "run other.kvmirq", "`run` is not allowed in a script"],
    ["another VM", "create other", "`create` is not allowed in a script"],
    ["another target", "-s other dump", "--session is not allowed in a script"],
    ["consent", "--yes dump", "--yes is not allowed in a script"],
    ["one of several VMs", "--vm-fd 3 --pid 7 dump", "is not allowed in a script"],
    ["a command without an end", "watch", "`watch` is not allowed in a script"],
    ["help", "pulse --help", "help is not allowed in a script"],
    ["the program's own name", "kvm-irq pulse 4", "a line of a script begins with the command"],
  ])("refuses %s in the last line before the first has run", (_, line, message) => {
    const path = script("mistake", "pulse 4", "", line);
    const { status, stdout, stderr } = user.run(["-s", "living", "run", path]);
    expect({ status, stdout }).toEqual({ status: 6, stdout: "" });
    expect(stderr).toContain(`${path}:3: `);
    expect(stderr).toContain(message);
    expect(user.json(["-s", "living", "dump"]).chips.lapic[0].irr).toEqual([]);
  });

  it("refuses --json for a report that has a format of its own", () => {
    const { status, stdout, stderr } = user.run(["run", "-", "--json", "--format", "tap"], {
      input: "pulse 4",
    });
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    expect(stderr).toContain("--json and --format tap are two formats; give one");
  });

  it("reads standard input too, and names it in messages", () => {
    const input = "pulse 4\nexpect pic1.imr=0";
    const { status, stderr } = user.run(["run", "-", "--preset", "ioapic"], { input });
    expect(status).toBe(1);
    expect(stderr).toContain("standard input:2: expect pic1.imr=0: a condition does not hold");
    expect(user.run(["run", "-"], { input: "" }).status).toBe(0);
    expect(user.run(["run", "nowhere.kvmirq"])).toMatchObject({ status: 4, stdout: "" });
    const folder = user.run(["run", user.folder]);
    expect(folder).toMatchObject({ status: 4, stdout: "" });
    expect(folder.stderr).toMatch(/can't be read: it is a folder\nhint: /);
  });

  it("takes a script that begins with a byte order mark, from a file and from a pipe", () => {
    const lines = "\ufeffpulse 4\r\nexpect lapic[0].irr=0x34\r\n";
    const path = join(user.folder, "marked.kvmirq");
    writeFileSync(path, lines);
    expect(run(path)).toMatchObject({ status: 0, stderr: "" });
    expect(user.run(["run", "-", "--preset", "ioapic"], { input: lines })).toMatchObject({ status: 0 });
  });

  it("reads a pipe by any name, and does not take what it read for an empty script", () => {
    const input = "pulse 4\nexpect pic1.imr=0";
    const path = join(user.folder, "pipe.kvmirq");
    execFileSync("mkfifo", [path]);
    const { status, stderr } = spawnSync(
      "bash",
      [
        "-c",
        'printf %s "$2" > "$1" & exec "$3" "$4" run "$1" --preset ioapic',
        "_",
        path,
        input,
        process.execPath,
        PROGRAM,
      ],
      { env: user.env, encoding: "utf8" },
    );
    expect(status).toBe(1);
    expect(stderr).toContain(`${path}:2: expect pic1.imr=0: a condition does not hold`);
    expect(user.run(["run", user.folder])).toMatchObject({ status: 4, stdout: "" });
  });

  it("takes a living session with -s, and leaves its state there", () => {
    user.ok(["-s", "living", "run", script("living", "hold 21", "pulse 4", "expect lapic[0].irr=0x34")]);
    const { lapic, ioapic } = user.json(["-s", "living", "dump"]).chips;
    expect([lapic[0].irr, ioapic.irr]).toEqual([[0x34, 0x45], 1 << 21]);
    user.ok(["-s", "living", "release", "21"]);
    expect(user.run(["-s", "nobody", "run", script("one", "dump")]).status).toBe(4);
    for (const option of [
      ["--preset", "pic"],
      ["--vcpus", "2"],
      ["--backend", "auto"],
      ["--from", "x"],
    ]) {
      const { status, stderr } = user.run(["-s", "living", "run", script("one", "dump"), ...option]);
      expect(status).toBe(2);
      expect(stderr).toContain(`${option[0]} is for the VM made for the script`);
    }
  });

  it("reads a snapshot with --snapshot, and changes nothing there", () => {
    const path = join(user.folder, "taken.json");
    user.ok(["-s", "living", "dump", "--json", "-o", path]);
    const read = (line: string) => user.run(["--snapshot", path, "run", script("read", line)]).status;
    expect([read("expect lapic[0].irr=0x34"), read("expect lapic[0].irr=0x35")]).toEqual([0, 1]);
    // What would change it, or wait for it to change, is known beforehand.
    for (const line of ["pulse 4", "set pic1.imr=1", "explain --for 1s", "expect lapic[2].svr=1"]) {
      expect(read(line)).toBe(6);
      expect(user.run(["--snapshot", path, ...line.split(" ")]).status).toBe(2);
    }
  });

  it.each([
    { signal: "SIGINT", line: "pulse 22 --width 60s" },
    { signal: "SIGTERM", line: "hold 22 --for 60s" },
    { signal: "SIGKILL", line: "pulse 22 --width 60s" },
  ] as const)("ended by $signal in the middle of `$line` leaves the line low", async ({ signal, line }) => {
    const path = script("interrupted", line, "pulse 5");
    const child = user.start(["-s", "living", "run", path]);
    const result = finished(child);
    const high = () => (user.json(["-s", "living", "dump"]).chips.ioapic.irr & (1 << 22)) !== 0;
    await until("the line is high", high);
    child.kill(signal);
    const { status } = await result;
    expect(status).toBe(signal === "SIGKILL" ? null : 130);
    await until("the line is low", () => !high());
    // What came behind was not run.
    expect(user.json(["-s", "living", "dump"]).chips.lapic[0].irr).not.toContain(0x35);
  });

  it("interrupted between lines runs none of the others", async () => {
    const { status, stdout, stderr } = await interrupted("SIGINT", "--json");
    expect({ status, stderr }).toEqual({ status: 130, stderr: "interrupted before all conditions held\n" });
    expect(objects(stdout)).toMatchObject([
      { line: 1, status: 0 },
      { line: 2, status: 0 },
      { line: 3, status: 130, result: { met: false, interrupted: true } },
    ]);
  });

  it("says where it was interrupted", async () => {
    const { status, stderr } = await interrupted("SIGTERM", "--quiet");
    expect(status).toBe(130);
    expect(stderr).toMatch(/^interrupted before .*\n.*\.kvmirq:3: expect pic1\.irr=1 .*: interrupted\n$/);
  });

  it("runs 10,000 lines in little more memory than 1,000", { timeout: 60_000 }, () => {
    const [small, large] = [1_000, 10_000].map((lines) => {
      const path = script(`long-${lines}`, ...longScript(lines));
      const { peakKb, stdout } = measured(["run", path, "--preset", "ioapic", "--json"]);
      expect(stdout.match(/"status":0/g)).toHaveLength(lines);
      return peakKb;
    });
    // Some 30 MB are the collector's, which takes its time; a line that stayed would be seen long before.
    expect(large! - small!).toBeLessThan(64 * 1024);
  });
});

/** Runs the program and tells the most memory that it had at once, as proc(5) has it at its end. */
function measured(args: string[]): { stdout: string; peakKb: number } {
  const [hook, file] = ["peak.cjs", "peak.json"].map((name) => join(user.folder, name));
  writeFileSync(
    hook!,
    `const { readFileSync, writeFileSync } = require("node:fs");
     process.on("exit", () => writeFileSync(${JSON.stringify(file)}, readFileSync("/proc/self/status")));`,
  );
  const stdout = user.ok(args, { env: { NODE_OPTIONS: `--require=${hook}` } });
  return { stdout, peakKb: Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync(file!, "utf8"))![1]) };
}

describe("a report for CI", () => {
  const path = () =>
    script(
      "report",
      "pulse 4 --require delivered",
      "expect lapic[0].irr=0x34  # so far so good",
      "expect lapic[0].irr=0x99 pic1.imr=0xff",
      "pulse 4 --require coalesced",
      "restore nowhere.json",
      "expect 'pic1.imr<256' # <&>",
    );
  /** The steps that are tests: every `expect`, and whatever else failed. */
  const TESTS = [
    { line: 2, ok: true },
    { line: 3, ok: false, message: "a condition does not hold" },
    { line: 4, ok: false, message: "status 1" },
    { line: 5, ok: false, message: "nowhere.json can't be read: there is no such file" },
    { line: 6, ok: true },
  ];

  it("in TAP is what a TAP parser reads as the tests that there were", () => {
    const { status, stdout } = run(path(), "--keep-going", "--format", "tap");
    expect(status).toBe(1);
    const points: { ok: boolean; name: string; message: unknown }[] = [];
    const parser = new Parser({ strict: true });
    parser.on("assert", ({ ok, name, diag }) => points.push({ ok, name, message: diag?.message }));
    parser.end(stdout);
    expect(parser).toMatchObject({
      count: 5,
      pass: 2,
      fail: 3,
      planStart: 1,
      planEnd: 5,
      failures: { length: 3 },
    });
    expect(points.map(({ ok, message }) => ({ ok, message }))).toEqual(
      TESTS.map(({ ok, message }) => ({ ok, message })),
    );
    expect(points.map(({ name }) => Number(/report\.kvmirq:(\d+) /.exec(name)?.[1]))).toEqual(
      TESTS.map(({ line }) => line),
    );
    expect(stdout).toMatch(/not ok +lapic\[0\]\.irr +=\s0x99/);
  });

  it.skipIf(spawnSync("prove", ["--version"]).status !== 0)(
    "in TAP is what Perl's prove takes (skipped without it)",
    () => {
      const prove = (file: string) => {
        const call = `${process.execPath} ${PROGRAM} run --preset ioapic --keep-going --format tap`;
        const { status, stdout } = spawnSync("prove", ["-e", call, file], {
          env: user.env,
          encoding: "utf8",
        });
        return { status, stdout };
      };
      expect(prove(script("good", "pulse 4", "expect lapic[0].irr=0x34"))).toMatchObject({ status: 0 });
      const { status, stdout } = prove(path());
      expect(status).toBe(1);
      expect(stdout).toContain("Tests: 5 Failed: 3)");
      expect(stdout).not.toContain("Parse errors");
    },
  );

  it("in JUnit's XML is what a reader of that finds", async () => {
    const file = join(user.folder, "report.xml");
    const { status, stdout } = run(path(), "--keep-going", "--format", "junit", "-o", file);
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
    const report = await parse(readFileSync(file, "utf8"));
    const [suite] = (report as TestSuites).testsuite!;
    expect(suite).toMatchObject({ name: path(), tests: 5, failures: 3 });
    expect(suite!.testcase!.map(({ classname }) => classname)).toEqual([
      ...["expect", "expect", "pulse", "restore", "expect"],
    ]);
    expect(suite!.testcase!.map(({ failure }) => failure?.[0]?.message)).toEqual(
      TESTS.map(({ message }) => message),
    );
    expect(suite!.testcase!.map(({ name }) => name)[4]).toBe(`${path()}:6 expect 'pic1.imr<256' # <&>`);
    expect(suite!.testcase!.every(({ time }) => time! > 0 && time! < 60)).toBe(true);
  });

  it("is written for a script that stopped early too, and of none that was refused", () => {
    const file = join(user.folder, "early.tap");
    expect(run(path(), "--format", "tap", "-o", file).status).toBe(1);
    const report = readFileSync(file, "utf8");
    expect(report).toMatch(/^TAP version 13\n1\.\.3\nok 1 - .*\nnot ok 2 - /);
    // Of those behind it none was run; whether the one that is no `expect` would have failed, nobody knows.
    expect(report).toMatch(/\nok 3 - .*report\.kvmirq:6 .* # SKIP an earlier line failed\n$/);
    const none = join(user.folder, "none.tap");
    expect(run(script("refused", "puls"), "--format", "tap", "-o", none).status).toBe(6);
    expect(existsSync(none)).toBe(false);
  });

  it("in TAP says that it was interrupted, and has every test all the same", async () => {
    const { status, stdout } = await interrupted("SIGTERM", "--format", "tap");
    expect(status).toBe(130);
    expect(stdout).toMatch(
      /^TAP version 13\n1\.\.3\nok 1 - .*\nnot ok 2 - .*\n {2}---\n {2}message: "interrupted"\n/,
    );
    expect(stdout).toMatch(/\nok 3 - .*kvmirq:5 .* # SKIP interrupted\nBail out! interrupted\n$/);
    const parser = new Parser({ strict: true });
    parser.end(stdout);
    expect(parser).toMatchObject({ count: 3, pass: 2, fail: 1, skip: 1, bailedOut: "interrupted" });
  });

  it("in JUnit's XML says that it was interrupted, and has every test all the same", async () => {
    const { status, stdout } = await interrupted("SIGINT", "--format", "junit");
    expect(status).toBe(130);
    const [suite] = ((await parse(stdout)) as TestSuites).testsuite!;
    expect(suite).toMatchObject({ tests: 3, failures: 0, errors: 1, skipped: 1 });
    expect(
      suite!.testcase!.map(({ error, skipped }) => [error?.[0]?.message, skipped !== undefined]),
    ).toEqual([
      [undefined, false],
      ["interrupted", false],
      [undefined, true],
    ]);
  });

  it("is written where the VM can't be made too", () => {
    const hook = join(user.folder, "no-kvm.cjs");
    writeFileSync(hook, `process.dlopen = () => { throw new Error("no FFI here"); };`);
    const { status, stdout } = user.run(["run", path(), "--backend", "kvm", "--format", "tap"], {
      env: { NODE_OPTIONS: `--require=${hook}` },
    });
    expect(status).not.toBe(0);
    expect(stdout).toMatch(/^TAP version 13\n1\.\.4\nnot ok 1 - .*kvmirq:1 pulse 4 /);
    expect(stdout).toMatch(/\nok 4 - .*kvmirq:6 .* # SKIP there is no VM\nBail out! .+\n$/);
  });

  it("goes to a file with --format alone", () => {
    expect(run(path(), "-o", join(user.folder, "text.tap")).status).toBe(2);
  });
});
