import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { readRegister } from "../../../src/arch/x86/attach/user-regs.ts";
import { Vm } from "../../../src/kvm/vm.ts";
import { listThreads, readThread } from "../../../src/os/proc.ts";
import { findGadgets, type Mapping, readMappings } from "../../../src/sources/attach/address-space.ts";
import { Alarm } from "../../../src/sources/attach/alarm.ts";
import { BorrowedThread } from "../../../src/sources/attach/borrowed-thread.ts";
import { HeldThreads } from "../../../src/sources/attach/held-threads.ts";
import { Tracee } from "../../../src/sources/attach/tracee.ts";
import { BusyVmm, compile, endOf, haveBusyVmm, leftovers, mayBuildForRoot } from "../../support/attach.ts";

const TIMES = 20;
/** From each of its nine threads, and from one in a sequence; fewer where a machine is emulated. */
const BORROWS = Number(process.env["KVM_IRQ_BORROWS"] ?? TIMES);

describe.skipIf(!haveBusyVmm)("a borrowed thread (needs /dev/kvm, root and a C compiler)", () => {
  it("goes on as if nothing had been, in user code, asleep, in a blocking read or in KVM_RUN", async () => {
    const vmm = await BusyVmm.start();
    const alarm = new Alarm(20);
    const deadline = () => process.hrtime.bigint() + 5_000_000_000n;
    const mappings = readMappings(vmm.pid);
    const around = {
      pid: vmm.pid,
      mappings,
      userfaultfd: false,
      gadgets: findGadgets(vmm.pid, mappings)!,
    };
    const own = await vmm.chips();
    const threads = listThreads(vmm.pid)!.filter((tid) => readThread(vmm.pid, tid)?.worker === false);
    expect(threads.length).toBe(9);
    alarm.start();
    for (const tid of threads) {
      for (let n = 0; n < BORROWS; n++) {
        const held = new HeldThreads(deadline, () => true);
        const thread = new BorrowedThread(held.stop([new Tracee(tid, false)])[0]!, around, deadline);
        const vm = new Vm(vmm.vmFd, undefined, (...call) => thread.ioctl(...call));
        const pic1 = vm.getIrqchip(0);
        thread.giveBack();
        held.release();
        expect(Buffer.from(pic1.subarray(8, 24)).toString("hex")).toBe(own["pic1"]);
      }
    }
    alarm.stop();
    expect((await vmm.status())["trouble"]).toBe("ok");
    expect(leftovers(vmm.pid)).toEqual([]);
    await vmm.end();
  }, 300_000);
});

describe.skipIf(!haveBusyVmm)("a thread that another one maps memory for (needs /dev/kvm, root)", () => {
  it("has its own vector registers in its frame, should this process be killed, and not the other's", async () => {
    const vmm = await BusyVmm.start("heap-stack");
    const alarm = new Alarm(20);
    const deadline = () => process.hrtime.bigint() + 5_000_000_000n;
    const mappings = readMappings(vmm.pid);
    const gadgets = findGadgets(vmm.pid, mappings)!;
    const around = { pid: vmm.pid, mappings, userfaultfd: false, gadgets };
    const held = new HeldThreads(deadline, () => true);
    // The thread that checks its registers all the time.
    const checker = listThreads(vmm.pid)!.find((tid) => readThread(vmm.pid, tid)?.state === "R");
    const hasItsBytes = () => {
      const known = new Set(mappings.map(({ start }) => start));
      const made = readMappings(vmm.pid).filter(({ start }) => !known.has(start));
      expect(made.length).toBeGreaterThan(0);
      return made.some((mapping) => bytesOf(vmm.pid, mapping).includes(XMM0_OF_CHECKER));
    };
    alarm.start();
    try {
      const [main, other] = held.stop([new Tracee(vmm.pid, false), new Tracee(checker!, false)]);
      const mapper = new BorrowedThread(other!, around, deadline);
      const thread = new BorrowedThread(main!, around, deadline, () => mapper);
      expect(thread.stackWillDo()).toBe(false);
      new Vm(vmm.vmFd, undefined, (...call) => thread.ioctl(...call)).getIrqchip(0);
      expect(hasItsBytes()).toBe(false);
      thread.giveBack();
      mapper.giveBack();
    } finally {
      held.release();
      alarm.stop();
    }
    expect((await vmm.status())["trouble"]).toBe("ok");
    await vmm.end();
  });
});

/** What test/support/busy-vmm.c keeps there. */
const XMM0_OF_CHECKER = Buffer.alloc(8, 0x88);

function bytesOf(pid: number, { start, end }: Mapping): Buffer {
  const fd = openSync(`/proc/${pid}/mem`, "r");
  try {
    const bytes = Buffer.alloc(Number(end - start));
    readSync(fd, bytes, 0, bytes.length, start);
    return bytes;
  } finally {
    closeSync(fd);
  }
}

/** Its main thread waits in read(2), and says so when it has handled a signal. */
const TRAPPER = `trap 'echo got' USR1; echo ready; while :; do read; done`;

describe.skipIf(!mayBuildForRoot)("a thread that gets a signal while it is borrowed (needs root)", () => {
  it("handles it once it is let go", async () => {
    const child = spawn("bash", ["-c", TRAPPER], { stdio: ["pipe", "pipe", "inherit"] });
    const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
    expect((await lines.next()).value).toBe("ready");
    const pid = child.pid!;
    await expect.poll(() => readThread(pid, pid)?.syscall?.number).toBe(0);
    const alarm = new Alarm(20);
    const deadline = () => process.hrtime.bigint() + 5_000_000_000n;
    const mappings = readMappings(pid);
    const around = { pid, mappings, userfaultfd: false, gadgets: findGadgets(pid, mappings)! };
    const signals = () => readFileSync(`/proc/${pid}/status`, "utf8").match(/^S\w+(Pnd|Blk):.*$/gm);
    const before = signals();
    alarm.start();
    const held = new HeldThreads(deadline, () => true);
    const thread = new BorrowedThread(held.stop([new Tracee(pid, false)])[0]!, around, deadline);
    // Of standard input, which is a pipe: ENOTTY.
    const call = () => expect(thread.ioctl(0, 0x5413, 0)).toMatchObject({ value: -1, errno: 25 });
    call();
    process.kill(pid, "SIGUSR1");
    call();
    call();
    expect(signals()!.find((line) => line.startsWith("ShdPnd"))).toMatch(/0{13}200$/);
    thread.giveBack();
    held.release();
    alarm.stop();
    expect((await lines.next()).value).toBe("got");
    await expect.poll(() => readThread(pid, pid)?.syscall?.number).toBe(0);
    expect(signals()).toEqual(before);
    await endOf(child);
  });
});

describe.skipIf(!mayBuildForRoot)("a thread in a restartable sequence (needs root and a C compiler)", () => {
  it("goes on at its abort handler when it is borrowed inside of it", async () => {
    const child = spawn(compile("rseq-spinner"), { stdio: ["ignore", "pipe", "inherit"] });
    const [line] = (await once(createInterface({ input: child.stdout! }), "line")) as [string];
    const at = Object.fromEntries([...line.matchAll(/(\w+)=(\w+)/g)].map(([, name, value]) => [name, value]));
    const [start, end, abort] = ["sequence", "end", "abort"].map((name) => BigInt(at[name]!));
    expect(at["registered"]).toBe("1");
    const pid = child.pid!;
    const alarm = new Alarm(20);
    const deadline = () => process.hrtime.bigint() + 5_000_000_000n;
    const mappings = readMappings(pid);
    const around = { pid, mappings, userfaultfd: false, gadgets: findGadgets(pid, mappings)! };
    alarm.start();
    let inside = 0;
    for (let n = 0; n < BORROWS; n++) {
      // So that it has run since.
      await sleep(2);
      const held = new HeldThreads(deadline, () => true);
      const [tracee] = held.stop([new Tracee(pid, false)]);
      const rip = readRegister(tracee!.regs.view, "rip");
      const thread = new BorrowedThread(tracee!, around, deadline);
      // Of standard input, which is /dev/null: ENOTTY.
      expect(thread.ioctl(0, 0x541b, 0)).toMatchObject({ value: -1, errno: 25 });
      thread.giveBack();
      const back = readRegister(tracee!.regs.view, "rip");
      held.release();
      const isInside = start! <= rip && rip < end!;
      if (isInside) inside++;
      expect(back).toBe(isInside ? abort! : rip);
    }
    alarm.stop();
    expect(inside).toBeGreaterThan(0);
    await endOf(child);
  }, 300_000);
});
