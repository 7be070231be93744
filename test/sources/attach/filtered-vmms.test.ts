import { closeSync, openSync, readFileSync, readSync, writeSync } from "node:fs";
import { afterEach, describe, expect, it } from "vitest";
import { readRegister, writeRegister } from "../../../src/arch/x86/attach/user-regs.ts";
import { Vm } from "../../../src/kvm/vm.ts";
import { findGadgets, readMappings } from "../../../src/sources/attach/address-space.ts";
import { Alarm } from "../../../src/sources/attach/alarm.ts";
import { BorrowedThread } from "../../../src/sources/attach/borrowed-thread.ts";
import { HeldThreads } from "../../../src/sources/attach/held-threads.ts";
import { UnexpectedCallError } from "../../../src/sources/attach/ptrace.ts";
import { Tracee } from "../../../src/sources/attach/tracee.ts";
import { haveBusyVmm, leftovers } from "../../support/attach.ts";
import { attachToFiltered, escapesOf, SandboxedVmm, WAYS_TO_WAIT } from "../../support/sandboxed-vmm.ts";

/** In the long form, scripts/attach-safety.js, it is 100 and 1,000. */
const ATTACHES = Number(process.env["KVM_IRQ_SECCOMP_ATTACHES"] ?? 5);
const ATTEMPTS = 10 * ATTACHES;
/** For all three of a row. */
const TIMEOUT = 6_000 * ATTACHES;

describe.skipIf(!haveBusyVmm)("VMMs with a seccomp filter (needs /dev/kvm, root and a C compiler)", () => {
  const vmms: SandboxedVmm[] = [];
  const start = async (way: string) => {
    const vmm = await SandboxedVmm.start(way);
    vmms.push(vmm);
    return vmm;
  };
  afterEach(async () => {
    for (const vmm of vmms.splice(0)) await vmm.end();
  });

  it.each(WAYS_TO_WAIT)(
    "that allows just its own %s survive, and wait on",
    async (way) => {
      for (const { problems } of await attachToFiltered(way, ATTACHES)) expect(problems).toEqual([]);
    },
    TIMEOUT,
  );

  it(
    "do not get a single forbidden call through while they are attached to",
    async () => {
      const { attempts, escapes } = await escapesOf(ATTEMPTS);
      expect(attempts).toBeGreaterThan(0);
      expect(escapes).toBe(0);
    },
    TIMEOUT,
  );

  it("keep their filter while they are traced and have not been borrowed from", async () => {
    const vmm = await start("forbidden");
    const tracee = new Tracee(vmm.pid, true);
    tracee.seize();
    const rounds = vmm.read("rounds");
    await expect.poll(() => vmm.read("rounds"), { timeout: 5000 }).toBeGreaterThan(rounds + 100);
    tracee.detach();
    expect(vmm.read("escapes")).toBe(0);
    await expect.poll(() => leftovers(vmm.pid), { timeout: 5000 }).toEqual([]);
    // Node takes the stop of a child of its own for its end, and would leave it running.
    process.kill(vmm.pid, "SIGKILL");
  });

  /** Borrows the main thread of a VMM that waits in poll, and lets it make an ioctl. */
  const borrow = async (
    use: (vmm: SandboxedVmm, tracee: Tracee, getIrqchip: () => void) => void,
    code?: string,
  ) => {
    const vmm = await start("poll");
    await vmm.sleepsIn(7);
    const deadline = () => process.hrtime.bigint() + 5_000_000_000n;
    const mappings = readMappings(vmm.pid);
    const found = findGadgets(vmm.pid, mappings)!;
    // As if it had been rewritten right after it was looked at.
    const gadgets = code === undefined ? found : { ...found, syscall: BigInt(vmm.at[code]!) };
    const held = new HeldThreads(deadline, () => true);
    const alarm = new Alarm(20);
    alarm.start();
    const [tracee] = held.stop([new Tracee(vmm.pid, true)]);
    const around = { pid: vmm.pid, mappings, userfaultfd: false, gadgets };
    const thread = new BorrowedThread(tracee!, around, deadline);
    const vm = new Vm(vmm.vmFd, undefined, (...call) => thread.ioctl(...call));
    try {
      use(vmm, tracee!, () => vm.getIrqchip(0));
    } finally {
      thread.giveBack();
      held.release();
      alarm.stop();
    }
    expect(vmm.read("escapes")).toBe(0);
    expect(await vmm.harm("poll")).toEqual([]);
  };

  it.each(["other_call", "int80"])("can't put %s where the borrowed instruction was", async (code) => {
    await borrow((_vmm, { regs }, getIrqchip) => {
      const number = readRegister(regs.view, "orig_rax");
      // As if it had been stopped outside of system calls.
      writeRegister(regs.view, "orig_rax", -1n);
      expect(getIrqchip).toThrow(UnexpectedCallError);
      writeRegister(regs.view, "orig_rax", number);
    }, code);
  });

  it("have their own registers and signal mask between the calls of ours", async () => {
    await borrow((vmm, { regs }, getIrqchip) => {
      const blocked = () => /^SigBlk:.*$/m.exec(readFileSync(`/proc/${vmm.pid}/status`, "utf8"))![0];
      const before = blocked();
      getIrqchip();
      const [rsp, rip] = ["rsp", "rip"].map((name) => readRegister(regs.view, name as "rsp" | "rip"));
      // On its own system call: what a SIGKILL would leave it with.
      expect(readFileSync(`/proc/${vmm.pid}/syscall`, "utf8")).toBe(
        `-1 0x${rsp!.toString(16)} 0x${(rip! - 2n).toString(16)}\n`,
      );
      expect(blocked()).toBe(before);
    });
  });

  it.each([
    ["int $0x80", "cd80", UnexpectedCallError],
    ["ud2", "0f0b", /met signal 4/],
  ])("can't put %s where their own system call was", async (_what, code, error) => {
    await borrow((vmm, { regs }, getIrqchip) => {
      getIrqchip();
      const at = Number(readRegister(regs.view, "rip")) - 2;
      const syscall = poke(vmm.pid, at, Buffer.from(code, "hex"));
      expect(getIrqchip).toThrow(error);
      poke(vmm.pid, at, syscall);
    });
  });
});

/** Writes into a process's memory, code too. @returns what was there. */
function poke(pid: number, at: number, bytes: Buffer): Buffer {
  const fd = openSync(`/proc/${pid}/mem`, "r+");
  try {
    const before = Buffer.alloc(bytes.length);
    readSync(fd, before, 0, before.length, at);
    writeSync(fd, bytes, 0, bytes.length, at);
    return before;
  } finally {
    closeSync(fd);
  }
}
