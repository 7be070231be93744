import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { chainsOf } from "../../src/arch/x86/lives/chains.ts";
import { readTrace, type Trace } from "../../src/exports/ndjson.ts";
import type { Chain } from "../../src/lives/chain.ts";
import { isAlive } from "../../src/os/alive.ts";
import type { TraceEvent } from "../../src/tracefs/event.ts";
import { finished, PROGRAM, User, until } from "../support/cli.ts";
import { cpuRunsApics, noTracing, OVER, PlainTracefs } from "../support/tracing.ts";

const user = new User();
afterAll(() => expect(user.dispose()).toEqual([]));

const pulse = (...args: string[]) => ["--", process.execPath, PROGRAM, "pulse", ...args];
/** Without what work queues do meanwhile for VMs of other tests. */
async function parse(text: string): Promise<Trace> {
  const { events, ...rest } = await readTrace(text.split("\n"));
  return { ...rest, events: events.filter(({ process }) => process !== null) };
}
const over = expect.toBeOneOf([...OVER]);
const inFolder = (name: string) => join(user.folder, "kvm-irq", name);

describe.skipIf(noTracing !== undefined)(`trace (${noTracing ?? "on this kernel"})`, () => {
  let plain: PlainTracefs;
  let holder: number;
  beforeAll(() => {
    plain = new PlainTracefs();
    holder = user.json(["create", "--guest", "ioapic"]).pid;
    user.ok(["create", "still", "--preset", "ioapic"]);
  });
  afterAll(() => plain.close());
  const instancesOf = ({ pid }: ChildProcess) =>
    readdirSync(join(plain.path, "instances")).filter((name) => name.startsWith(`kvm-irq-${pid}-`));
  /** The interrupts of a trace around a command. */
  const chainsAround = async (args: readonly string[], ...command: string[]): Promise<Chain[]> =>
    chainsOf((await parse(user.ok(["trace", "--json", ...args, ...pulse(...command)]))).events);

  it("has the events that a plain reading of tracefs has, at the same times", async () => {
    const path = join(plain.path, "instances", `plain-reading-${process.pid}`);
    mkdirSync(path);
    try {
      const threads = readdirSync(`/proc/${holder}/task`).join(" ");
      writeFileSync(join(path, "trace_clock"), "mono");
      writeFileSync(join(path, "set_event_pid"), threads);
      writeFileSync(join(path, "events/kvm/enable"), "1");
      const { header, events } = await parse(user.ok(["trace", "--json", ...pulse("4", "10")]));
      const shown = [...readFileSync(join(path, "trace"), "utf8").matchAll(/ (\d+\.\d+): (\w+): (.*)/g)]
        .map(([, at, event, rest]) => ({ at: Number(at), event: event!, rest: rest! }))
        .filter(({ event }) => header.events.includes(event));
      expect(events.map(({ event }) => event)).toEqual(shown.map(({ event }) => event));
      events.forEach((event, index) => {
        const { at, rest } = shown[index]!;
        const time = (Number(header.clock_origin) + event.time) / 1e9;
        expect(Math.abs(time - at)).toBeLessThan(0.001);
        expect(rest).toContain(factOf(event));
      });
    } finally {
      rmdirSync(path);
    }
  });

  it("accounts for each of 1000 pulses", { timeout: 60_000 }, () => {
    const train = pulse("6", "--count", "1000", "--require", "handled");
    const argv = ["trace", "--gsi", "6", "--stats-only", "--json", ...train];
    const { summary, interrupts, statistics } = JSON.parse(user.ok(argv));
    expect(summary.lost).toBe(0);
    expect(interrupts).toMatchObject({ coalesced: 0, unfinished: 0 });
    expect(interrupts.complete + interrupts.posted).toBe(1000);
    expect(cpuRunsApics || interrupts.posted === 0).toBe(true);
    const [{ gsi, vector, total, between }] = statistics;
    expect([gsi, vector, total.count, between[0].from]).toEqual([6, 0x36, 1000, "raised"]);
    expect(total.min).toBeLessThanOrEqual(total.median);
    expect(total.p99).toBeLessThanOrEqual(total.max);
  });

  it("of a session has what the kernel's own threads do for it: an irqfd's interrupt", async () => {
    user.ok(["irqfd", "bind", "5"]);
    const argv = ["trace", "--json", "--", process.execPath, PROGRAM, "irqfd", "kick", "5"];
    const { events } = await readTrace(user.ok(argv).split("\n"));
    expect(chainsOf(events)).toContainEqual(
      expect.objectContaining({ process: holder, gsi: 5, vector: 0x35, outcome: over }),
    );
    user.ok(["irqfd", "unbind", "5"]);
  });

  it("finds just as many interrupts complete as the guest handled, where pulses come faster than that", () => {
    user.ok(["create", "fast", "--guest", "ioapic"]);
    const argv = [
      "-s",
      "fast",
      "trace",
      "--gsi",
      "6",
      "--stats-only",
      "--json",
      "--",
      process.execPath,
      PROGRAM,
    ];
    const { summary, interrupts } = JSON.parse(
      user.ok([...argv, "-s", "fast", "pulse", "6", "--count", "3000"]),
    );
    expect(summary.lost).toBe(0);
    expect(interrupts.complete + interrupts.posted + interrupts.coalesced).toBe(3000);
    const { handled } = user.json(["-s", "fast", "dump"]).guest;
    // What a CPU merges by itself is not told.
    if (cpuRunsApics) expect(handled[0].count).toBeLessThanOrEqual(interrupts.complete + interrupts.posted);
    else expect(handled).toEqual([{ vector: 0x36, count: interrupts.complete }]);
    user.ok(["destroy", "fast"]);
  });

  it("shows events, lives, latencies and a summary as text, which people and awk can take", () => {
    const shown = user.ok(["trace", "--gsi", "6", ...pulse("6")]);
    expect(shown).toMatch(/^ +TIME \(s\) +CPU +PROCESS +THREAD +EVENT +DETAIL\n/);
    expect(shown).toMatch(/^ +\d\.\d{6} +\d+ +\d+ +kvm-irq-holder-\d+ +kvm_set_irq +gsi 6 level 1$/m);
    expect(shown).toMatch(
      /^1 +\d\.\d{6} +6 +0x36 +ioapic +edge +(complete|posted) +raised, \+\S+s accepted, .*$/m,
    );
    expect(shown).toMatch(/^ +6 +0x36 +ioapic +raised +accepted +1( +[\d.]+[num]?s){4} +\S+ █ \S+$/m);
    expect(shown).toMatch(/^\d+ events in [\d.]+[um]?s; 1 interrupt: 1 (complete|posted)\n/m);
    expect(shown).toContain("DELIVERED");
  });

  it("records only the lines asked for, and only the vectors", async () => {
    const linesOf = (chains: Chain[]) => chains.map(({ gsi }) => gsi);
    expect(linesOf(await chainsAround(["--gsi", "10"], "4", "10"))).toEqual([10]);
    expect(linesOf(await chainsAround(["--gsi", "4", "--gsi", "9-10"], "4", "10"))).toEqual([4, 10]);
    const { events } = await parse(user.ok(["trace", "--json", "--vector", "0x3a", ...pulse("4", "10")]));
    expect(
      events.filter(({ event }) => event === "kvm_apic_accept_irq").map(({ args }) => args["vec"]),
    ).toEqual([0x3a]);
  });

  it("of a session, of its pid, and of all VMs has its events; of another session it has none", async () => {
    const raised = async (...target: string[]) =>
      (await parse(user.ok([...target, "trace", "--json", ...pulse("4")]))).events.some(
        ({ process, args }) => process === holder && args["gsi"] === 4,
      );
    expect(await raised("-s", "default")).toBe(true);
    expect(await raised("--pid", String(holder))).toBe(true);
    const none = user.run(["trace", "--pid", String(process.pid), "--for", "10ms"]);
    expect(none.stderr).toContain(`process ${process.pid} has no VM: there is nothing to record`);
    expect(await raised("-s", "still")).toBe(false);
    const { events } = await parse(user.ok(["trace", "--all", "--json", ...pulse("4")]));
    expect(events.some(({ process }) => process === holder)).toBe(true);
  });

  it("of two processes has the events of both", async () => {
    const other = user.json(["create", "other", "--guest", "ioapic"]).pid;
    const both = ["--pid", String(holder), "--pid", String(other), "--json"];
    const command = `"$0" "$1" pulse 4 && "$0" "$1" -s other pulse 4`;
    const argv = ["trace", ...both, "--", "sh", "-c", command, process.execPath, PROGRAM];
    const { events } = await parse(user.ok(argv));
    expect(new Set(events.map(({ process }) => process))).toEqual(new Set([holder, other]));
    user.ok(["destroy", "other"]);
  });

  it("passes on the command's status, output and signals, and runs no shell", () => {
    const around = (...command: string[]) => user.run(["trace", "--stats-only", "--", ...command]);
    expect(around("sh", "-c", "exit 7").status).toBe(7);
    expect(around("sh", "-c", "kill -9 $$").status).toBe(137);
    const { stdout } = around("echo", "$HOME;", "-o", "--json");
    expect(stdout).toMatch(/^\$HOME; -o --json\n/);
    const json = user.run(["trace", "--json", "--", "echo", "hello"]);
    expect(json.stderr).toBe("hello\n");
    expect(json.stdout).toMatch(/^\{"format":"kvm-irq.trace"/);
  });

  it("ends a command that ignores signals when it is interrupted itself", async () => {
    const child = user.start(["trace", "--", "sh", "-c", "trap '' INT TERM; echo $$; exec sleep 600"]);
    let said = "";
    child.stdout!.on("data", (chunk) => {
      said += chunk;
    });
    await until("the command runs", () => /^\d+$/m.test(said));
    const pid = Number(/^\d+$/m.exec(said)![0]);
    child.kill("SIGTERM");
    expect((await finished(child)).status).toBe(130);
    expect(isAlive(pid)).toBe(false);
  });

  it("refuses a command that can't be started, with status 2, and leaves nothing", async () => {
    const file = inFolder("never");
    for (const output of [[], ["-o", file], ["--json"]]) {
      const child = user.start(["trace", ...output, "--", "no-such-command"]);
      const { status, stdout, stderr } = await finished(child);
      expect(instancesOf(child)).toEqual([]);
      expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
      expect(stderr).toContain("no-such-command can't be started: there is no such command");
    }
    const words = user.run(["trace", "--", "no-such-command", "--json"]);
    expect(words.stderr).toMatch(/^kvm-irq: no-such-command can't be started: .*\nhint: /);
    expect(readdirSync(join(user.folder, "kvm-irq")).filter((name) => name.startsWith("never"))).toEqual([]);
  });

  it("leaves no instance and no half a file when its terminal is closed", async () => {
    const child = user.start(["trace", "-o", inFolder("half")]);
    await until("the trace has started", () => instancesOf(child).length > 0);
    child.kill("SIGHUP");
    expect((await finished(child)).status).toBe(130);
    expect(instancesOf(child)).toEqual([]);
    expect(readdirSync(join(user.folder, "kvm-irq")).filter((name) => name.endsWith(".tmp"))).toEqual([]);
    rmSync(inFolder("half"));
  });

  it("ends after --for with 0, on SIGINT with its summary and 130", async () => {
    expect(user.run(["trace", "--for", "50ms"])).toMatchObject({
      status: 0,
      stderr: "tracing session 'default' for 50 ms\n",
    });
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      const child = user.start(["trace", "--gsi", "6"]);
      const result = finished(child);
      await traces(child);
      user.ok(["pulse", "6"]);
      child.kill(signal);
      const { status, stdout } = await result;
      expect(status).toBe(130);
      expect(stdout).toMatch(/; 1 interrupt: 1 (complete|posted)\n/);
      expect(instancesOf(child)).toEqual([]);
    }
  });

  it("shows events while it runs", async () => {
    const child = user.start(["trace"]);
    let shown = "";
    child.stdout!.on("data", (chunk) => {
      shown += chunk;
    });
    const result = finished(child);
    await traces(child);
    user.ok(["pulse", "4"]);
    await until("the event is shown", () => shown.includes("gsi 4 level 1"));
    expect(child.exitCode).toBeNull();
    child.kill("SIGINT");
    await result;
  });

  it("ends with the session that it traces, and says so", async () => {
    user.ok(["create", "brief"]);
    const child = user.start(["-s", "brief", "trace", "--gsi", "6"]);
    const result = finished(child);
    await traces(child);
    user.ok(["destroy", "brief"]);
    const { status, stdout, stderr } = await result;
    expect(status).toBe(0);
    expect(stderr).toContain("session 'brief' has ended\n");
    expect(stdout).toMatch(/0 interrupts\n$/);
  });

  it("goes twice at once without either disturbing the other", async () => {
    const first = user.start(["trace", "--json", "--gsi", "4"]);
    const second = user.start(["trace", "--json", "--gsi", "10"]);
    const results = [finished(first), finished(second)];
    await Promise.all([traces(first), traces(second)]);
    user.ok(["pulse", "4", "10"]);
    first.kill("SIGINT");
    await results[0];
    user.ok(["pulse", "10"]);
    second.kill("SIGINT");
    const [one, other] = await Promise.all(
      results.map(async (result) => chainsOf((await parse((await result).stdout)).events)),
    );
    expect(one!.map(({ gsi, outcome }) => [gsi, outcome])).toEqual([[4, over]]);
    expect(other!.map(({ gsi, outcome }) => [gsi, outcome])).toEqual([
      [10, over],
      [10, over],
    ]);
  });

  it.each([
    ["mounted", () => []],
    ["not mounted", () => ["unshare", "-m", "sh", "-c", 'umount "$0" && exec "$@"', plain.path]],
  ])("that was killed leaves no instance where tracefs is %s", async (_, inMounts) => {
    const [file = "", ...args] = [...inMounts(), process.execPath, PROGRAM, "trace", "--all"];
    const child = spawn(file, args, { env: user.env });
    await traces(child);
    expect(instancesOf(child)).toHaveLength(1);
    child.kill("SIGKILL");
    await until("the instance is gone", () => instancesOf(child).length === 0);
  });

  it("that was killed is swept up by the next", async () => {
    const child = user.start(["trace"]);
    await traces(child);
    expect(instancesOf(child)).toHaveLength(1);
    child.kill("SIGKILL");
    await finished(child);
    user.ok(["trace", "--for", "10ms"]);
    expect(instancesOf(child)).toEqual([]);
  });

  it("ends quietly when its reader has seen enough", () => {
    const line = `"${process.execPath}" "${PROGRAM}" trace --for 100ms | head -1; echo "\${PIPESTATUS[@]}"`;
    const { stdout, stderr } = spawnSync("bash", ["-c", line], { env: user.env, encoding: "utf8" });
    expect(stdout).toMatch(/^ +TIME.*\n0 0\n$/);
    expect(stderr).toBe("tracing session 'default' for 100 ms\n");
  });

  it("ends when its reader has seen enough, though nothing happens any more", () => {
    const line = `"${process.execPath}" "${PROGRAM}" trace --json | head -1; echo "\${PIPESTATUS[@]}"`;
    const options = { env: user.env, encoding: "utf8", timeout: 20_000 } as const;
    expect(spawnSync("bash", ["-c", line], options).stdout).toMatch(/^\{"format".*\n0 0\n$/);
  });

  it("counts and says what was lost", () => {
    const argv = ["trace", "--stats-only", "--json", "--buffer-kb", "4"];
    const { stdout, stderr } = user.run([...argv, ...pulse("20", "21", "22", "23", "--count", "3000")]);
    const { summary } = JSON.parse(stdout);
    expect(summary.lost).toBeGreaterThan(0);
    expect(stderr).toContain(`${summary.lost} events lost: `);
  });

  it("writes a file whole, and none when it can't", () => {
    const file = inFolder("t.ndjson");
    user.ok(["trace", "--json", "-o", file, ...pulse("4")]);
    expect(readFileSync(file, "utf8")).toMatch(/^\{"format":"kvm-irq.trace"[\s\S]*\n\{"summary":.*\}\n$/);
    const { status, stderr } = user.run(["trace", "--for", "1s", "-o", "/no/such/folder/t"]);
    expect(status).toBe(2);
    expect(stderr).toContain("/no/such/folder/t can't be written");
    expect(readdirSync(join(user.folder, "kvm-irq")).filter((name) => name.endsWith(".tmp"))).toEqual([]);
    rmSync(file);
  });

  it("is refused with status 3 for a user who may not trace", () => {
    const drop = ["setpriv", ["--reuid", "65534", "--regid", "65534", "--clear-groups"]] as const;
    if (process.getuid?.() !== 0 || spawnSync(drop[0], [...drop[1], "true"]).status !== 0) return;
    const argv = [...drop[1], process.execPath, PROGRAM, "trace", "--all", "--for", "10ms"];
    const { status, stderr } = spawnSync(drop[0], argv, {
      env: { ...user.env, XDG_RUNTIME_DIR: "/tmp" },
      encoding: "utf8",
    });
    expect(stderr).toMatch(/^kvm-irq: .*(permission|may not).*\nhint: .*root/);
    expect(status).toBe(3);
  });
});

/** Waits until a trace that was started records. */
async function traces(child: ReturnType<User["start"]>): Promise<void> {
  let said = "";
  child.stderr!.on("data", (chunk) => {
    said += chunk;
  });
  await until("the trace has begun", () => said.includes("Ctrl-C ends it"));
}

/** Something that the kernel's own text says of an event in the same words. */
function factOf({ event, args }: TraceEvent): string {
  switch (event) {
    case "kvm_set_irq":
      return `gsi ${args["gsi"]} level ${args["level"]}`;
    case "kvm_apic_accept_irq":
      return `apicid ${Number(args["apicid"]).toString(16)} vec ${args["vec"]}`;
    case "kvm_eoi":
      return `apicid ${Number(args["apicid"]).toString(16)} vector ${args["vector"]}`;
    case "kvm_ioapic_set_irq":
    case "kvm_pic_set_irq":
      return `pin ${args["pin"]}`;
    default:
      return "";
  }
}
