import { spawn } from "node:child_process";
import { once } from "node:events";
import { describe, expect, it } from "vitest";
import { readProcess } from "../../src/os/proc.ts";

describe("the record of a process", () => {
  it("has what decides whether it may be attached to, and its arguments", async () => {
    const child = spawn(process.execPath, ["-e", "process.stdin.resume()", "an argument", ""]);
    try {
      await once(child, "spawn");
      expect(readProcess(child.pid!)).toMatchObject({
        pid: child.pid,
        status: { tgid: child.pid, ppid: process.pid, tracerPid: 0 },
        isKernelThread: false,
        args: [process.execPath, "-e", "process.stdin.resume()", "an argument"],
        fds: { vms: [], vcpus: [] },
        is32Bit: false,
        tracer: undefined,
      });
    } finally {
      child.kill();
      await once(child, "exit");
    }
    expect(readProcess(child.pid!)).toBeUndefined();
  });
});
