import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import type { Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { hasThread, readStatus } from "../../../src/os/proc.ts";
import { Alarm } from "../../../src/sources/attach/alarm.ts";
import { HeldThreads } from "../../../src/sources/attach/held-threads.ts";
import { BusyProcessError, PtraceError, StopTimeoutError } from "../../../src/sources/attach/ptrace.ts";
import { Tracee } from "../../../src/sources/attach/tracee.ts";
import { mayBuildForRoot } from "../../support/attach.ts";
import { until } from "../../support/cli.ts";

/** Whose parent sleeps uninterruptibly for a second: that is how vfork(2) waits. */
const UNSTOPPABLE = `
#include <unistd.h>
int main(void) {
    if (vfork() == 0) { sleep(1); _exit(0); }
    for (;;) pause();
}
`;

describe.skipIf(!mayBuildForRoot)("a thread that can't be stopped (needs root and a C compiler)", () => {
  let child: ChildProcess;
  let pid: number;
  const alarm = new Alarm(5);

  beforeEach(async () => {
    mkdirSync(".cache/attach", { recursive: true });
    writeFileSync(".cache/attach/unstoppable.c", UNSTOPPABLE);
    execFileSync("cc", ["-o", ".cache/attach/unstoppable", ".cache/attach/unstoppable.c"]);
    // Not a child of this process: for its own, Node waits by itself.
    child = spawn("sh", ["-c", ".cache/attach/unstoppable & echo $!; wait $!"]);
    const [line] = (await once(createInterface({ input: child.stdout! }), "line")) as [string];
    pid = Number(line);
    for (let tries = 0; tries < 200 && readStatus(pid)?.state !== "D"; tries++) await sleep(5);
    alarm.start();
  });
  afterEach(() => {
    alarm.stop();
    if (readStatus(pid) !== undefined) process.kill(pid, "SIGKILL");
  });

  it("is given up on after the time limit, and let go once it stops", async () => {
    const held = new HeldThreads(
      () => process.hrtime.bigint() + 50_000_000n,
      () => true,
    );
    const started = performance.now();
    expect(() => held.stop([new Tracee(pid, false)])).toThrow(StopTimeoutError);
    expect(performance.now() - started).toBeGreaterThan(45);
    held.release();
    expect(readStatus(pid)).toMatchObject({ state: "D", tracerPid: process.pid });
    for (let tries = 0; tries < 400 && readStatus(pid)?.tracerPid !== 0; tries++) await sleep(10);
    await sleep(20);
    expect(readStatus(pid)).toMatchObject({ state: "S", tracerPid: 0 });
  });

  it("that is killed while it is held does not stay a zombie", async () => {
    const held = new HeldThreads(
      () => process.hrtime.bigint() + 5_000_000_000n,
      () => true,
    );
    expect(held.stop([new Tracee(pid, false)])).toHaveLength(1);
    const ended = once(child, "exit");
    process.kill(pid, "SIGKILL");
    await sleep(20);
    held.release();
    // The shell's way to say that its child was killed by signal 9.
    expect(await ended).toEqual([128 + 9, null]);
  });
});

/** Has a second thread, says its own number and that one's, and becomes sleep(1) when it gets a line. */
const EXECUTING = `
#include <pthread.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>
static void *wait(void *unused) {
    printf("%d %d\\n", (int)getpid(), (int)syscall(SYS_gettid));
    fflush(stdout);
    for (;;) pause();
    return unused;
}
int main(void) {
    pthread_t thread;
    pthread_create(&thread, 0, wait, 0);
    getchar();
    execlp("sleep", "sleep", "60", (char *)0);
    return 1;
}
`;

/** A thread other than the main one does that. */
const EXECUTING_THREAD = EXECUTING.replace(
  "for (;;) pause();",
  'getchar(); execlp("sleep", "sleep", "60", (char *)0);',
).replace('getchar();\n    execlp("sleep", "sleep", "60", (char *)0);\n    return 1;', "for (;;) pause();");

async function startProgram(name: string, source: string) {
  mkdirSync(".cache/attach", { recursive: true });
  writeFileSync(`.cache/attach/${name}.c`, source);
  execFileSync("cc", ["-pthread", "-o", `.cache/attach/${name}`, `.cache/attach/${name}.c`]);
  // Not a child of this process: for its own, Node waits by itself.
  const shell = spawn("sh", ["-c", `.cache/attach/${name} <&3 & wait $!`], {
    stdio: ["ignore", "pipe", "inherit", "pipe"],
  });
  const [line] = (await once(createInterface({ input: shell.stdout! }), "line")) as [string];
  const [leader, thread] = line.split(" ").map(Number) as [number, number];
  return { leader, thread, go: () => (shell.stdio[3] as Writable).write("\n") };
}

describe.skipIf(!mayBuildForRoot)(
  "a process that runs another program while it is attached to (needs root)",
  () => {
    it("goes on, and is let go, when the thread that does so is held", async () => {
      const { leader, thread, go } = await startProgram("executing-thread", EXECUTING_THREAD);
      const tracee = new Tracee(thread, false, leader);
      tracee.seize();
      go();
      await until("it runs the other program", () => readStatus(leader)?.comm === "sleep");
      // The thread has the process's number now, and its own is nobody's.
      expect(readStatus(leader)?.tracerPid).toBe(process.pid);
      tracee.detach();
      await until("it is let go", () => readStatus(leader)?.tracerPid === 0);
      await until("it sleeps", () => readStatus(leader)?.state === "S");
      process.kill(leader, "SIGKILL");
    });

    it("is given up on, where it waits for a thread that is held and we would wait for it, and goes on", async () => {
      const { leader, thread, go } = await startProgram("executing", EXECUTING);
      const alarm = new Alarm(5);
      const held = new HeldThreads(
        () => process.hrtime.bigint() + 1_000_000_000n,
        () => true,
      );
      try {
        alarm.start();
        expect(held.stop([new Tracee(thread, false)])).toHaveLength(1);
        go();
        // execve(2) has ended it, and waits until whoever traces it has taken note (fs/exec.c, de_thread).
        await until("the thread has ended", () => readStatus(thread)?.state === "Z");
        expect(() => held.stop([new Tracee(leader, false)])).toThrow(BusyProcessError);
        held.release();
        alarm.stop();
        await until("it runs the other program", () => readStatus(leader)?.comm === "sleep");
        expect(readStatus(leader)?.tracerPid).toBe(0);
      } finally {
        alarm.stop();
        process.kill(leader, "SIGKILL");
      }
    });
  },
);

describe("a thread of another process than the one that is meant", () => {
  it("is not touched: its number may have been given again", async () => {
    const child = spawn("sleep", ["60"]);
    const held = new HeldThreads(
      () => process.hrtime.bigint() + 1_000_000_000n,
      (tid) => hasThread(process.pid, tid),
    );
    try {
      expect(held.stop([new Tracee(child.pid!, false)])).toEqual([]);
      expect(readStatus(child.pid!)?.tracerPid).toBe(0);
    } finally {
      child.kill("SIGKILL");
    }
  });
});

describe("threads of which one is refused", () => {
  it("are all let go", async () => {
    const child = spawn("sh", ["-c", "sleep 60 & echo $!; wait"]);
    const [line] = (await once(createInterface({ input: child.stdout! }), "line")) as [string];
    const sleeper = Number(line);
    const held = new HeldThreads(
      () => process.hrtime.bigint() + 1_000_000_000n,
      () => true,
    );
    try {
      // Nobody may trace himself.
      expect(() => held.stop([new Tracee(sleeper, false), new Tracee(process.pid, false)])).toThrow(
        PtraceError,
      );
      held.release();
      await until("it is let go", () => readStatus(sleeper)?.tracerPid === 0);
      await until("it sleeps on", () => readStatus(sleeper)?.state === "S");
    } finally {
      process.kill(sleeper, "SIGKILL");
    }
  });
});
