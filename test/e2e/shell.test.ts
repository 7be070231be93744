import { type ChildProcess, execFileSync, spawnSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { finished, PROGRAM, User, until } from "../support/cli.ts";

const user = new User();
beforeAll(() => {
  user.ok(["create"]);
});
afterAll(() => expect(user.dispose()).toEqual([]));

/** Whether a process is in the middle of a read(2) of its standard input, or of an openat(2), and stays there. */
async function waitsForPipe(child: ChildProcess): Promise<boolean> {
  return waitsIn(child, /^(0 0x0|257) /);
}

/** Whether a process stays in such a system call, told by number and arguments as /proc/PID/syscall has them. */
async function waitsIn({ pid }: ChildProcess, wanted: RegExp): Promise<boolean> {
  const call = () => readFileSync(`/proc/${pid}/syscall`, "latin1");
  const before = call();
  await sleep(100);
  return wanted.test(before) && call() === before;
}

const sh = (script: string) =>
  spawnSync("bash", ["-c", `kvm-irq() { ${process.execPath} ${PROGRAM} "$@"; }; ${script}`], {
    env: user.env,
    encoding: "utf8",
  });

describe("the command line", () => {
  it("tells its version, fast path and commander alike", () => {
    const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
    expect(user.ok(["--version"])).toBe(`${version}\n`);
    expect(user.ok(["--version", "--json"])).toBe(`${version}\n`);
  });

  it.each([
    [["nonsense"]],
    [["pulse"]],
    [["pulse", "4", "--nonsense"]],
    [["pulse", "4", "--count", "0"]],
    [["pulse", "4", "--count", "1e3"]],
    [["pulse", "4", "--interval", "10"]],
    [["pulse", "4", "--width", "1parsec"]],
    [["pulse", "4", "--require", "luck"]],
    [["create", "a", "b"]],
    [["create", "a", "--vcpus", "256"]],
    [["create", "a", "--preset", "none"]],
    [["dump", "--chip", "foo"]],
    [["dump", "--format", "xml"]],
    [["dump", "-o", ""]],
    [["dump", "--vm-fd", "3"]],
    [["-s", "a", "--snapshot", "b", "dump"]],
    [["completion", "tcsh"]],
    [["destroy", "a", "--all"]],
    [["pulse", "4", "--timeout", "1s"]],
    [["msi", "--vector", "0x41", "--decode", "--require", "delivered"]],
    [["watch", "--ignore", "lapic[*"]],
    // None of these comes to see that the file, the session or the process is not there.
    [["--snapshot", "nowhere", "pulse", "4"]],
    [["--vm-fd", "3", "run", "nowhere"]],
    [["run", "nowhere", "-o", "report.xml"]],
    [["diff", "-", "-", "-s", "nobody"]],
    [["trace", "--from", "nowhere", "--pid", "4194304"]],
  ])("refuses %j with status 2, one line and a hint", (args) => {
    const { status, stdout, stderr } = user.run(args);
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    expect(stderr).toMatch(/^kvm-irq: .+\nhint: .+\n$/);
  });

  it("says what is wrong with a value in one sentence", () => {
    expect(user.run(["pulse", "4", "--count", "0"]).stderr).toMatch(
      /argument '0' is invalid: it takes a whole number from 1 to \d+\n/,
    );
    for (const [ttl, why] of [
      ["10", "needs a unit"],
      ["-1s", "is a positive number and its unit"],
      ["soon", "is a positive number and its unit"],
    ] as const) {
      expect(user.run(["create", "--ttl", ttl]).stderr).toContain(
        `argument '${ttl}' is invalid: a duration ${why}: 500us, 10ms`,
      );
    }
    expect(user.run(["route", "sow"]).stderr).toContain(
      "is invalid for argument 'action': allowed choices are show, set, reset\n",
    );
  });

  it("prints the help, with status 2 and on stderr, for a call without a word", () => {
    expect(user.run([])).toEqual({
      status: 2,
      stdout: "",
      stderr: user.ok(["--help"]),
    });
  });

  it.each([
    [["doctor"], ["--json", "--debug"]],
    [["destroy"], ["--session", "--json", "--debug"]],
    [["pulse"], ["--session", "--pid", "--vm-fd", "--via", "--yes", "--json", "--debug"]],
    [["dump"], ["--session", "--pid", "--vm-fd", "--via", "--snapshot", "--json", "--debug"]],
    [["trace"], ["--session", "--pid", "--json", "--debug"]],
    [["diff"], ["--json", "--debug"]],
    [["run"], ["--session", "--pid", "--vm-fd", "--via", "--snapshot", "--yes", "--json", "--debug"]],
  ])("%s lists in its help the program's options that it takes, and no others", (command, options) => {
    const [, globals = ""] = user.ok([...command, "--help"]).split("Global Options:\n");
    const [list = ""] = globals.split("\n\n");
    expect([...list.matchAll(/^ {2}(?:-\w, )?(--[\w-]+)/gm)].map(([, option]) => option)).toEqual(options);
  });

  it("repeats input in errors without control characters, and not without end", () => {
    const { stderr } = user.run(["expect", `\u001b[31m${"x".repeat(5000)}`]);
    expect(stderr).not.toContain("\u001b");
    expect(stderr.length).toBeLessThan(2500);
  });

  it.each([
    [["--pid", "1", "dump", "--pid", "2"], "--pid is given 2 times"],
    [["-s", "a", "-s", "b", "pulse", "4"], "--session is given 2 times"],
    [["pulse", "4", "--count", "1", "--count", "2", "--count", "3"], "--count is given 3 times"],
    [["dump", "--format", "json", "--format", "raw"], "--format is given 2 times"],
    [["dump", "-o", "a", "--output", "a"], "--output is given 2 times"],
    [["--snapshot", "a", "--snapshot", "b", "dump"], "--snapshot is given 2 times"],
  ])("refuses two values of an option that takes one: %j", (args, message) => {
    const { status, stdout, stderr } = user.run(args);
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    expect(stderr).toContain(message);
  });

  it("takes several values of an option that collects them", () => {
    user.ok(["create", "lists"]);
    const chips = ["dump", "--chip", "pic1", "--chip", "ioapic", "--json"];
    expect(user.run(["-s", "lists", ...chips]).status).toBe(0);
    user.ok(["destroy", "lists"]);
  });

  it("takes an empty KVM_IRQ_BACKEND for none", () => {
    expect(user.run(["run", "--dry-run", "-"], { env: { KVM_IRQ_BACKEND: "" } }).status).toBe(0);
    expect(user.run(["run", "--dry-run", "-"], { env: { KVM_IRQ_BACKEND: "xen" } }).status).toBe(2);
  });

  it("makes no session that would be gone at once", () => {
    expect(user.run(["create", "--ttl", "0"])).toMatchObject({ status: 2 });
  });

  it("shows durations in its help as they are typed", () => {
    expect(user.ok(["pulse", "--help"])).toContain("(default: 1s)");
    expect(user.ok(["watch", "--help"])).toContain("(default: 500ms)");
  });

  it("has no help for a command that is not there, and says so", () => {
    expect(user.run(["help", "help"])).toEqual(user.run(["help"]));
    expect(user.run(["help", "help"]).status).toBe(0);
    expect(user.run(["help", "puls"]).stderr).toMatch(/^kvm-irq: unknown command 'puls'\n/);
    expect(user.run(["-s", "x"]).stderr).toMatch(/^kvm-irq: no command given\n/);
  });

  it("gives errors as JSON with --json, on stderr", () => {
    const { stdout, stderr } = user.run(["-s", "nobody", "dump", "--json"]);
    expect(stdout).toBe("");
    expect(JSON.parse(stderr)).toEqual({
      error: {
        code: "no-session",
        message: "there is no session 'nobody'",
        hint: expect.stringContaining("kvm-irq create nobody"),
        session: "nobody",
      },
    });
  });

  it("passes over no --format beside --json", () => {
    for (const format of ["table", "raw"]) {
      const { status, stdout, stderr } = user.run(["dump", "--json", "--format", format]);
      expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
      expect(JSON.parse(stderr).error.message).toBe(`--json is --format json, and not ${format}`);
    }
    expect(user.json(["dump", "--format", "json"]).format).toBe("kvm-irq.snapshot");
  });

  it("shows a stack only with --debug", () => {
    expect(user.run(["-s", "nobody", "dump"]).stderr).not.toMatch(/^ +at /m);
    expect(user.run(["-s", "nobody", "dump", "--debug"]).stderr).toMatch(/^ +at /m);
  });

  it("has help with examples for every command", () => {
    const commands = [...user.ok(["--help"]).matchAll(/^ {2}([a-z]+) /gm)].map((match) => match[1]!);
    expect(commands).toContain("pulse");
    for (const command of commands.filter((name) => name !== "help" && name !== "kvm")) {
      expect(user.ok([command, "--help"]), command).toMatch(/Examples:\n {2}\$ /);
    }
  });
});

describe("in a shell script", () => {
  it("the calls of the README's first lines work", () => {
    const { status, stdout } = sh(
      "kvm-irq create x && kvm-irq -s x pulse 4 && kvm-irq -s x dump --chip ioapic && kvm-irq destroy x",
    );
    expect(status).toBe(0);
    expect(stdout).toContain("IOAPIC");
  });

  it("standard output can be named as the file to write to", () => {
    const { status, stdout } = sh(
      `cd ${user.folder} && echo 'expect pic1.irr=0' > x.kvmirq && kvm-irq dump --json -o - && kvm-irq run x.kvmirq --format tap -o - && rm x.kvmirq && ls`,
    );
    expect({ status, stdout }).toEqual({
      status: 0,
      stdout: expect.stringMatching(/^\{.*\}\nTAP version 13\n1\.\.1\nok 1 - .*\nkvm-irq\n$/),
    });
  });

  it("a reader that stops early is no error", () => {
    const { stdout, stderr } = sh(
      "set -o pipefail; for i in 1 2 3; do kvm-irq dump | head -1; echo $?; done",
    );
    expect(stderr).toBe("");
    expect(stdout.match(/^0$/gm)).toHaveLength(3);
  });

  it("a file that takes part of the output only is an error", () => {
    const { status, stderr } = sh(`(ulimit -f 4; kvm-irq completion bash > "${user.folder}/part")`);
    expect({ status, stderr }).toEqual({
      status: 2,
      stderr: expect.stringMatching(/^kvm-irq: standard output can't be written: EFBIG.*\nhint: /),
    });
    rmSync(join(user.folder, "part"));
  });

  it("a closed stdin is an empty snapshot, not a crash", () => {
    const { status, stderr } = sh("kvm-irq restore - <&-");
    expect(status).toBe(6);
    expect(stderr).toContain("is empty");
  });

  it.each([
    ["restore", "-"],
    ["run", "-"],
    ["run", "PIPE"],
    ["dump", "--snapshot", "PIPE"],
    ["create", "fed", "--from", "-"],
    ["dump", "-o", "PIPE"],
  ])("`%s %s` that waits for the other end of a pipe is ended by Ctrl-C", async (...words) => {
    const pipe = join(user.folder, "pipe");
    execFileSync("mkfifo", [pipe]);
    const args = words.map((word) => (word === "PIPE" ? pipe : word));
    const child = user.start(args);
    await until("it waits", () => waitsForPipe(child));
    child.kill("SIGINT");
    await finished(child);
    expect(child.signalCode).toBe("SIGINT");
    rmSync(pipe);
    expect(readdirSync(".").filter((name) => name.startsWith("never"))).toEqual([]);
  });

  it("`trace --from -` that waits for the other end of a pipe is ended by Ctrl-C, and writes no file", async () => {
    const child = user.start(["trace", "--from", "-", "--format", "svg", "-o", "never.json"]);
    await until("it waits", () => waitsIn(child, /^(232|281) /));
    child.kill("SIGINT");
    expect((await finished(child)).status).toBe(130);
    expect(readdirSync(".").filter((name) => name.startsWith("never"))).toEqual([]);
  });

  it.each(["dump", "pulse 4", "--help", "--version", "watch", "demo"])(
    "a full disk under the output of `%s` is told, and by the status too",
    (call) => {
      const { status, stderr } = sh(`kvm-irq ${call} > /dev/full`);
      expect(status).toBe(2);
      expect(stderr).toMatch(/^kvm-irq: standard output can't be written: ENOSPC.*$/m);
      expect(stderr).not.toMatch(/^ +at /m);
    },
  );

  it("a full disk is told as JSON with --json", () => {
    const { status, stderr } = sh("kvm-irq dump --json > /dev/full");
    expect(status).toBe(2);
    expect(JSON.parse(stderr).error.code).toBe("output-failed");
  });

  it("a terminal that is closed leaves no line high", async () => {
    const high = () => (user.json(["dump"]).chips.ioapic.irr & (1 << 22)) !== 0;
    const hold = user.start(["hold", "22", "--for", "1h"]);
    await until("the line is high", high);
    hold.kill("SIGHUP");
    expect(await finished(hold)).toMatchObject({ status: 130, stderr: "interrupted; every line is low\n" });
    expect(high()).toBe(false);
  });

  it("a version that nobody reads is no error", () => {
    expect(sh("set -o pipefail; kvm-irq --version | true")).toMatchObject({ status: 0, stderr: "" });
  });

  it("completion for bash knows commands, options, choices and sessions", () => {
    const complete = (...words: string[]) =>
      sh(
        `source <(kvm-irq completion bash); COMP_WORDS=(kvm-irq ${words.map((word) => `'${word}'`).join(" ")}); COMP_CWORD=${words.length}; _kvm_irq; echo "\${COMPREPLY[@]}"`,
      ).stdout.trim();
    expect(complete("pu")).toBe("pulse");
    expect(complete("create", "--pre")).toBe("--preset");
    expect(complete("create", "--preset", "")).toBe("reset pic ioapic lapic");
    expect(complete("trace", "--format", "")).toBe("table ndjson vcd perfetto svg");
    expect(complete("dump", "--format", "")).toBe("table json raw");
    expect(complete("dump", "--chip", "l")).toBe("lapic");
    expect(complete("-s", "def")).toBe("default");
    expect(complete("pulse", "4", "--session", "def")).toBe("default");
    expect(complete("destroy", "def")).toBe("default");
    expect(complete("diff", "def")).toBe("default");
    expect(complete("completion", "")).toContain("bash zsh fish");
    expect(complete("explain", "--routing", "")).toBe("default qemu");
  });

  it("doctor and demo agree on whether KVM is here", () => {
    const doctor = user.run(["doctor", "--json"]);
    const { usable, checks } = JSON.parse(doctor.stdout);
    expect(doctor.status).toBe(usable ? 0 : 3);
    expect(checks.map(({ id }: { id: string }) => id)).toContain("device");
    const demo = user.run(["demo", "--json"], { env: { KVM_IRQ_BACKEND: "auto" } });
    expect(demo.status).toBe(0);
    expect(JSON.parse(demo.stdout).source.backend).toBe(usable ? "kvm" : "model");
    expect(demo.stderr).toContain(usable ? "the kernel's KVM" : "the software model");
  });
});
