import { afterEach, describe, expect, it } from "vitest";
import { openProcess } from "../../src/target/process.ts";
import { findVmsOf } from "../../src/target/processes.ts";
import { readTarget } from "../../src/target/take-snapshot.ts";
import { haveBusyVmm, leftovers } from "../support/attach.ts";
import { OddVmm } from "../support/odd-vmm.ts";

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
    return (await readTarget(target)).snapshot;
  } finally {
    await target.close();
    expect(leftovers(pid)).toEqual([]);
  }
}

describe.skipIf(!haveBusyVmm)("a VMM of an unusual shape (needs /dev/kvm, root and a C compiler)", () => {
  it("with two VMs has the vCPUs of each told apart by the threads that run them", async () => {
    const { pid, fds } = await start("two");
    expect((await findVmsOf(pid)).map(({ vm_fd, vcpus }) => [vm_fd, vcpus])).toEqual([
      [fds[0], 2],
      [fds[1], 1],
    ]);
    const lapics = async (fd: number) => (await snapshotOf(pid, fd)).chips.lapic?.map(({ vcpu }) => vcpu);
    expect(await lapics(fds[0]!)).toEqual([0, 1]);
    expect(await lapics(fds[1]!)).toEqual([0]);
    expect((await snapshotOf(pid, fds[1])).vcpus).toMatchObject([{ mp_state: "halted", run: true }]);
  });

  it("with two VMs that nobody runs has vCPUs that are not known, and no list of none", async () => {
    const { pid, fds } = await start("two-idle");
    expect((await findVmsOf(pid)).map(({ vcpus }) => vcpus)).toEqual([null, null]);
    const { chips, vcpus, source } = await snapshotOf(pid, fds[0]);
    expect(Object.keys(chips)).toEqual(["pic1", "pic2", "ioapic"]);
    expect(vcpus).toBeUndefined();
    expect(source).toMatchObject({ vcpus: null });
    const target = await openProcess({ pid, vmFd: fds[0] });
    expect(await target.describe()).not.toHaveProperty("vcpus");
    await expect(readTarget(target, ["lapic"])).rejects.toMatchObject({
      code: "bad-chip",
      message: expect.stringContaining("which vCPUs belong to this VM is not known"),
    });
    await target.close();
  });

  it("with two descriptors of its VM has one VM, which either names", async () => {
    const { pid, fds } = await start("copied");
    expect((await findVmsOf(pid)).map(({ vm_fd, vcpus }) => [vm_fd, vcpus])).toEqual([[fds[0], 1]]);
    const [first, second] = [await snapshotOf(pid, fds[0]), await snapshotOf(pid, fds[1])];
    expect(second.chips).toEqual(first.chips);
    expect(second.vcpus).toMatchObject([{ run: true }]);
  });
});
