import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { afterEach, describe, expect, it } from "vitest";
import { readSource } from "../../../src/arch/x86/library.ts";
import { isAlive } from "../../../src/os/alive.ts";
import { listThreads, readStatus, readThread } from "../../../src/os/proc.ts";
import { findVms, findVmsOf } from "../../../src/sources/attach/processes.ts";
import { openProcess } from "../../../src/sources/attach/source.ts";
import { sleepsInKvmRun } from "../../../src/sources/attach/vcpu-runs.ts";
import { hasNoVmOfItsOwn } from "../../../src/sources/attach/vm-owners.ts";
import { haveBusyVmm, leftovers } from "../../support/attach.ts";
import { PROGRAM, until } from "../../support/cli.ts";
import { OddVmm } from "../../support/odd-vmm.ts";

const vmms: OddVmm[] = [];
afterEach(async () => {
  for (const vmm of vmms.splice(0)) await vmm.end();
});

async function start(...args: string[]): Promise<OddVmm> {
  const vmm = await OddVmm.start(...args);
  vmms.push(vmm);
  return vmm;
}

async function snapshotOf(pid: number, vmFd?: number) {
  const target = await openProcess({ pid, vmFd });
  try {
    return (await readSource(target)).snapshot;
  } finally {
    await target.close();
    expect(leftovers(pid)).toEqual([]);
  }
}

/** The pages that the vCPUs of a VM run in, each of which has a local APIC. */
async function pagesOf(pid: number, vmFd: number): Promise<number[]> {
  const { chips, vcpus } = await snapshotOf(pid, vmFd);
  expect(chips.lapic!.map(({ vcpu }) => vcpu)).toEqual(vcpus!.map(({ vcpu }) => vcpu));
  return vcpus!.map(({ rip }) => Number(rip) >> 12);
}

describe.skipIf(!haveBusyVmm)("a VMM of an unusual shape (needs /dev/kvm, root and a C compiler)", () => {
  it("with two VMs whose guests never halt has their threads stopped to tell vCPUs apart, by --pid alone", async () => {
    const { pid, fds } = await start("two-busy");
    expect((await findVmsOf(pid)).map(({ vcpus }) => vcpus)).toEqual([null, null]);
    expect(await pagesOf(pid, fds[0]!)).toEqual([1, 1]);
    expect(await pagesOf(pid, fds[1]!)).toEqual([2]);
  });

  it("with two VMs has the vCPUs of each told apart by the threads that run them", async () => {
    const { pid, fds } = await start("two");
    expect((await findVmsOf(pid)).map(({ vm_fd, vcpus }) => [vm_fd, vcpus])).toEqual([
      [fds[0], 2],
      [fds[1], 1],
    ]);
    expect(await pagesOf(pid, fds[0]!)).toEqual([1, 1]);
    expect(await pagesOf(pid, fds[1]!)).toEqual([2]);
    expect((await snapshotOf(pid, fds[1])).vcpus).toMatchObject([{ mp_state: "halted", run: true }]);
  });

  it("whose main thread has ended is found, read and changed by its other threads", async () => {
    const { pid, fds } = await start("main-gone");
    await until("the main thread has ended", () => readStatus(pid)?.state === "Z");
    const found = (await findVms()).find((vm) => vm.pid === pid);
    expect(found).toMatchObject({ vm_fd: fds[0], vcpus: 2, attachable: { allowed: true } });
    expect(found!.args.at(-1)).toBe("main-gone");
    const { chips, vcpus } = await snapshotOf(pid);
    expect(chips.lapic).toHaveLength(2);
    expect(vcpus).toMatchObject([{ run: true }, { run: true }]);
    const target = await openProcess({ pid });
    expect(await target.perform("setIrqLines", { steps: [{ gsi: 4, level: 1 }], transient: false })).toEqual({
      statuses: [1],
    });
    expect(isAlive(pid)).toBe(true);
    await target.close();
  });

  it("with two VMs that nobody runs has vCPUs that are not known, and no list of none", async () => {
    const { pid, fds } = await start("two-idle");
    expect((await findVmsOf(pid)).map(({ vcpus }) => vcpus)).toEqual([null, null]);
    const { chips, vcpus, source } = await snapshotOf(pid, fds[0]);
    expect(Object.keys(chips)).toEqual(["pic1", "pic2", "ioapic"]);
    expect(vcpus).toBeUndefined();
    expect(source).toMatchObject({ vcpus: null });
    const target = await openProcess({ pid, vmFd: fds[0] });
    expect(target.identity).not.toHaveProperty("vcpus");
    await expect(readSource(target, ["lapic"])).rejects.toMatchObject({
      code: "bad-chip",
      message: expect.stringContaining("which vCPUs belong to this VM is not known"),
    });
    await target.close();
  });

  it("that a copy of the descriptor leads to is named; the copy is no way in", async () => {
    const vmm = await start("forked");
    const target = await openProcess({ pid: vmm.pid });
    await expect(target.read({ chips: ["pic1"] })).rejects.toMatchObject({
      code: "no-vm",
      hint: `use the process that made it: \`--pid ${vmm.starter}\``,
    });
    await target.close();
  });

  it("that has a copy of a descriptor alone is not traced for nothing", async () => {
    const vmm = await start("forked");
    expect(hasNoVmOfItsOwn(vmm.pid)).toBe(true);
    expect(hasNoVmOfItsOwn(Number(vmm.starter))).toBe(false);
    const argv = [PROGRAM, "trace", "--pid", String(vmm.pid), "--for", "10ms"];
    const { status, stderr } = spawnSync(process.execPath, argv, { encoding: "utf8" });
    expect(stderr).toContain(`use the process that made it: \`--pid ${vmm.starter}\``);
    expect(status).toBe(4);
  });

  it("that has ended, and left a copy of the descriptor, can't be reached by anybody", async () => {
    const { pid } = await start("orphaned");
    const target = await openProcess({ pid });
    await expect(target.read({ chips: ["pic1"] })).rejects.toMatchObject({
      code: "no-vm",
      hint: expect.stringMatching(/^no other process has it any more: .* nobody can use the VM$/),
    });
    await target.close();
  });

  it("one of whose vCPUs is traced is refused with the tracer's name", async () => {
    const { pid } = await start("copied");
    const inKvmRun = (thread: number) => sleepsInKvmRun(readThread(pid, thread)!) !== undefined;
    await until("its vCPU is in KVM_RUN", () => listThreads(pid)!.some(inKvmRun));
    const tid = listThreads(pid)!.find(inKvmRun)!;
    const strace = spawn("strace", ["-qq", "-o", "/dev/null", "-p", String(tid)], { stdio: "ignore" });
    try {
      await until(
        "it is traced, and back in KVM_RUN",
        () => readStatus(tid)?.tracerPid === strace.pid && inKvmRun(tid),
      );
      const target = await openProcess({ pid });
      await expect(target.read({ chips: ["lapic[0]"] })).rejects.toMatchObject({
        code: "attach-refused",
        message: `vCPU 0's thread ${tid} is already being traced by strace (pid ${strace.pid})`,
        hint: expect.stringContaining("detach"),
      });
      expect((await target.read({ chips: ["pic1"] })).images).toHaveLength(1);
      await target.close();
    } finally {
      if (strace.kill()) await once(strace, "exit");
    }
  });

  it("in another pid namespace is found by the pid that it has there", async () => {
    const inside = ["unshare", "--pid", "--fork", "sh", "-c"];
    const script = 'echo 3999999 > /proc/sys/kernel/ns_last_pid; "$@"; :';
    const vmm = await OddVmm.startBy([...inside, script, "sh"], "copied");
    vmms.push(vmm);
    expect(vmm.pid).toBe(4_000_000);
    const { code, hint } = await openProcess({ pid: vmm.pid }).catch((error) => error);
    expect(code).toBe("no-process");
    const [, pid] = /which is 4000000 there, is `--pid (\d+)` here$/.exec(hint) ?? [];
    expect((await snapshotOf(Number(pid))).chips.lapic).toHaveLength(1);
  });

  it("with two descriptors of its VM has one VM, which either names", async () => {
    const { pid, fds } = await start("copied");
    expect((await findVmsOf(pid)).map(({ vm_fd, vcpus }) => [vm_fd, vcpus])).toEqual([[fds[0], 1]]);
    const [first, second] = [await snapshotOf(pid, fds[0]), await snapshotOf(pid, fds[1])];
    expect(second.chips).toEqual(first.chips);
    expect(second.vcpus).toMatchObject([{ run: true }]);
  });
});
