import { describe, expect, it } from "vitest";
import type { ProcessStatus } from "../../../src/os/proc.ts";
import { judge } from "../../../src/sources/attach/permission.ts";

const CAP_SYS_PTRACE = 1n << 19n;
const CAP_SYS_ADMIN = 1n << 21n;

function status(changes: Partial<ProcessStatus> = {}): ProcessStatus {
  const uids = [1000, 1000, 1000, 1000];
  const usual = { comm: "vmm", state: "S", tgid: 7, ppid: 1, tracerPid: 0, seccomp: 0, capEff: 0n };
  return { ...usual, uids, nsPids: [7], shadowStack: false, ...changes };
}

type Traced = Parameters<typeof judge>[0];

function ask(self: Partial<ProcessStatus>, ptraceScope: number, traced: Partial<Traced> = {}) {
  const other = { pid: 1, status: status(), is32Bit: false, seccomp: false, tracer: undefined, ...traced };
  return judge(other, { self: status(self), ptraceScope });
}

describe("permission to attach", () => {
  it.each([
    ["the same user, without Yama", {}, 0, {}],
    ["any user with CAP_SYS_PTRACE", { capEff: CAP_SYS_PTRACE, uids: [0, 0, 0, 0] }, 2, {}],
    ["a filtered process with CAP_SYS_ADMIN", { capEff: CAP_SYS_ADMIN }, 0, { seccomp: true }],
  ])("is given to %s", (_, self, scope, traced) => {
    expect(ask(self, scope, traced)).toEqual({ allowed: true });
  });

  it.each([
    ["another user", { uids: [1001, 1001, 1001, 1001] }, 0, {}, /belongs to another user/],
    ["a set-user-id process", {}, 0, { status: status({ uids: [1000, 0, 0, 0] }) }, /another user/],
    ["ptrace_scope 1", {}, 1, {}, /ptrace_scope is 1/],
    ["ptrace_scope 3, even for root", { capEff: CAP_SYS_PTRACE }, 3, {}, /ptrace_scope is 3/],
    ["a seccomp filter", {}, 0, { seccomp: true }, /seccomp/],
    ["a 32-bit program", { capEff: CAP_SYS_PTRACE }, 0, { is32Bit: true }, /32-bit/],
    [
      "a process that is traced",
      {},
      0,
      { tracer: { pid: 3, comm: "gdb", args: ["gdb"] } },
      /already being traced by gdb \(pid 3\)/,
    ],
    [
      "one that another kvm-irq reads just now",
      {},
      0,
      { tracer: { pid: 3, comm: "node", args: ["node", "/usr/bin/kvm-irq"] } },
      /already being traced by another kvm-irq \(pid 3\)/,
    ],
  ])("is refused for %s", (_, self, scope, traced, reason) => {
    expect(ask(self, scope, traced)).toMatchObject({
      allowed: false,
      reason: expect.stringMatching(reason),
      hint: expect.any(String),
    });
  });
});
