import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { KvmMachine } from "../../../src/kvm/kvm-machine.ts";
import { KernelMemory } from "../../../src/os/bpf.ts";
import { listPids, readKvmFds, readStatus } from "../../../src/os/proc.ts";
import { KernelProcess } from "../../../src/sources/kernel/process.ts";
import { KernelTypes } from "../../../src/sources/kernel/types.ts";
import { haveBusyVmm } from "../../support/attach.ts";
import { PROGRAM, until } from "../../support/cli.ts";
import { isOfUtilLinux } from "../../support/commands.ts";
import { noKernelMemory } from "../../support/kernel-memory.ts";
import { haveKvm } from "../../support/kvm.ts";
import { OddVmm } from "../../support/odd-vmm.ts";

const types = new KernelTypes({ kernel: undefined, fields: {}, enums: {} });
const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

let memory: KernelMemory;
beforeAll(() => {
  if (noKernelMemory === undefined) memory = new KernelMemory();
});
afterAll(() => memory?.close());

function filesOf(pid: number) {
  using found = new KernelProcess(memory, types, pid);
  return found.kvmFiles();
}

/** Each vCPU of a process: its number, and which of the VMs there it is of. */
function owners(pid: number) {
  const { vms, vcpus } = filesOf(pid);
  return vcpus.map(({ vcpu, vm }) => [vcpu, vms.findIndex(({ address }) => address === vm)]);
}

describe.skipIf(noKernelMemory !== undefined || !haveKvm)(
  "a process's KVM descriptors, in kernel memory",
  () => {
    it("are those of /proc, each vCPU with its VM", () => {
      const machines = [new KvmMachine(2), new KvmMachine(3)];
      ends.push(() => machines.map((machine) => machine.close()));
      const { vms, vcpus } = filesOf(process.pid);
      const shown = readKvmFds("self")!;
      expect(vms.map(({ fd }) => fd)).toEqual(shown.vms);
      expect(vcpus.map(({ fd, vcpu }) => ({ fd, vcpu }))).toEqual(shown.vcpus);
      expect(owners(process.pid)).toEqual([
        [0, 0],
        [0, 1],
        [1, 0],
        [1, 1],
        [2, 1],
      ]);
      expect(new Set([...vms, ...vcpus].map(({ address }) => address)).size).toBe(7);
      using found = new KernelProcess(memory, types, process.pid);
      expect(vms.map(({ fd }) => found.vm(fd))).toEqual(vms.map(({ address }) => address));
      expect(vcpus.map(({ fd }) => found.vm(fd))).toEqual(vcpus.map(() => undefined));
      expect([found.vm(0), found.vm(1_000_000)]).toEqual([undefined, undefined]);
    });

    it("are none of a process without a VM, and of one that the kernel runs for itself", () => {
      expect(filesOf(process.ppid)).toEqual({ vms: [], vcpus: [] });
      expect(() => filesOf(2)).not.toThrow();
    });

    it("are an error of status 4 where there is no such process, or no more", async () => {
      const child = spawn("sleep", ["1000"]);
      using found = new KernelProcess(memory, types, child.pid!);
      expect(found.kvmFiles()).toEqual({ vms: [], vcpus: [] });
      child.kill("SIGKILL");
      await once(child, "exit");
      const noProcess = expect.objectContaining({ code: "no-process", exitStatus: 4 });
      expect(() => found.kvmFiles()).toThrow(noProcess);
      expect(() => filesOf(child.pid!)).toThrow(noProcess);
      expect(() => filesOf(2 ** 22 - 1)).toThrow(noProcess);
    });

    it("are found while the processes and descriptors of the host come and go", async () => {
      const machine = new KvmMachine(1);
      ends.push(() => machine.close());
      const churn = spawn("sh", ["-c", "while :; do /bin/true; done"]);
      ends.push(() => churn.kill("SIGKILL"));
      for (let round = 0; round < 50; round++) {
        const other = new KvmMachine(1);
        expect(filesOf(process.pid).vcpus).toHaveLength(2);
        other.close();
        for (const pid of listPids().slice(-3)) {
          try {
            filesOf(pid);
          } catch (error) {
            expect(error).toMatchObject({ code: "no-process" });
          }
        }
      }
    });
  },
);

describe.skipIf(noKernelMemory !== undefined || !haveBusyVmm)(
  "a VMM of an unusual shape, in kernel memory",
  () => {
    async function start(shape: string, by: string[] = []): Promise<OddVmm> {
      const vmm = await OddVmm.startBy(by, ...shape.split(" "));
      ends.push(() => vmm.end());
      return vmm;
    }

    it("with two VMs has its vCPUs told apart, run or not", async () => {
      const { pid, fds } = await start("two-idle");
      expect(filesOf(pid).vms.map(({ fd }) => fd)).toEqual(fds);
      expect(owners(pid).sort()).toEqual([
        [0, 0],
        [0, 1],
        [1, 0],
      ]);
    });

    it("whose main thread has ended has its descriptors by another one", async () => {
      const { pid, fds } = await start("main-gone");
      await until("the main thread has ended", () => readStatus(pid)?.state === "Z");
      expect(filesOf(pid).vms.map(({ fd }) => fd)).toEqual(fds);
      expect(owners(pid)).toEqual([
        [0, 0],
        [1, 0],
      ]);
    });

    it("with copies of a descriptor has one address for all", async () => {
      const { pid, fds } = await start("forked");
      const starter = (await start("copied")).pid;
      expect(filesOf(pid).vms).toHaveLength(fds.length);
      const { vms } = filesOf(starter);
      expect(new Set(vms.map(({ address }) => address)).size).toBe(1);
    });

    it("with 300 VMs has each of them", async () => {
      const { pid } = await start("many 300");
      const { vms } = filesOf(pid);
      expect(new Set(vms.map(({ address }) => address)).size).toBe(300);
    });

    it.skipIf(!isOfUtilLinux("unshare"))(
      "in a PID namespace of its own is found by the pid that it has here",
      async () => {
        const { starter, fds } = await start("two-idle", ["unshare", "--pid", "--fork", "--kill-child"]);
        const [pid] = listPids().filter((other) => readStatus(other)?.ppid === starter);
        expect(readStatus(pid!)?.nsPids.at(-1)).toBe(1);
        expect(filesOf(pid!).vms.map(({ fd }) => fd)).toEqual(fds);
      },
    );

    it.skipIf(!isOfUtilLinux("unshare"))(
      "is not taken for another where /proc is of another PID namespace",
      async () => {
        const { pid } = await start("many 1");
        const args = ["--pid", "--fork", PROGRAM, "dump", "--pid", `${pid}`, "--via", "kernel", "--json"];
        const { status, stdout, stderr } = spawnSync("unshare", args, { encoding: "utf8" });
        expect({ status, stdout, stderr }).toMatchObject({
          status: 3,
          stderr: expect.stringContaining("not in the PID namespace that kvm-irq runs in"),
        });
      },
    );
  },
);
