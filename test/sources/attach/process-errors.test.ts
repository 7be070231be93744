import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { HeldProcess } from "../../../src/os/proc.ts";
import { explainFailure } from "../../../src/sources/attach/process-errors.ts";

describe("the failure of an attach", () => {
  it("is the end of its process where /proc has it no more, whoever has its pid by now", async () => {
    const child = spawn("sleep", ["100"]);
    await once(child, "spawn");
    const held = new HeldProcess(child.pid!);
    child.kill("SIGKILL");
    await once(child, "exit");
    let failure: unknown;
    try {
      readFileSync(`/proc/${held.id}/maps`);
    } catch (error) {
      failure = error;
    } finally {
      held.close();
    }
    // The pid of a process that goes on: this one.
    const vm = { pid: process.pid, vm_fd: 3, vcpu_fds: [] };
    expect(explainFailure(vm, failure)).toMatchObject({ code: "no-process", exitStatus: 4 });
  });
});
