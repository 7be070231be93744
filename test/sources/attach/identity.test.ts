import { type ChildProcess, spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { afterEach, describe, expect, it } from "vitest";
import { readStatus } from "../../../src/os/proc.ts";
import { findGadgets, readMappings } from "../../../src/sources/attach/address-space.ts";
import { Alarm } from "../../../src/sources/attach/alarm.ts";
import { BorrowedThread, ChangedProcessError } from "../../../src/sources/attach/borrowed-thread.ts";
import { HeldThreads } from "../../../src/sources/attach/held-threads.ts";
import { openProcess } from "../../../src/sources/attach/source.ts";
import { Tracee } from "../../../src/sources/attach/tracee.ts";
import { BusyVmm, endOf, haveBusyVmm, leftovers } from "../../support/attach.ts";
import { until } from "../../support/cli.ts";

const NEXT_PID = "/proc/sys/kernel/ns_last_pid";
const MOST_TRIES = 200;

/** Starts a program that gets a certain pid, which nobody has. */
async function startAs(pid: number): Promise<ChildProcess> {
  for (let n = 0; n < MOST_TRIES; n++) {
    writeFileSync(NEXT_PID, String(pid - 1));
    const child = spawn("sleep", ["1000"]);
    if (child.pid === pid) return child;
    await endOf(child);
  }
  throw new Error(`pid ${pid} was not given`);
}

describe.skipIf(!haveBusyVmm)(
  "a process that is another by now (needs /dev/kvm, root and a C compiler)",
  () => {
    const children: ChildProcess[] = [];
    const vmms: BusyVmm[] = [];
    const start = async (...args: string[]) => {
      const vmm = await BusyVmm.start(...args);
      vmms.push(vmm);
      return vmm;
    };
    afterEach(async () => {
      for (const vmm of vmms.splice(0)) await vmm.end();
      for (const child of children.splice(0)) await endOf(child);
    });

    it("runs another program: that is not run through the code of the old one", async () => {
      const vmm = await start("calm");
      const target = await openProcess({ pid: vmm.pid });
      await target.read({ chips: ["pic1"] });
      await vmm.ask("exec");
      await until("it sleeps", () => {
        const status = readStatus(vmm.pid);
        return status?.comm === "sleep" && status.state === "S";
      });
      await expect(target.read({ chips: ["pic1"] })).rejects.toMatchObject({
        code: "no-vm",
        message: expect.stringContaining("runs another program now"),
      });
      await target.close();
      expect(leftovers(vmm.pid)).toEqual([]);
      expect(readStatus(vmm.pid)).toMatchObject({ comm: "sleep", state: "S" });
    });

    it("got the pid of one that ended: it is not touched", async () => {
      const vmm = await start("calm");
      const target = await openProcess({ pid: vmm.pid });
      await target.read({ chips: ["pic1"] });
      await vmm.end();
      const sleeper = await startAs(vmm.pid);
      children.push(sleeper);
      await expect(target.read({ chips: ["pic1"] })).rejects.toMatchObject({ code: "no-process" });
      expect(target.lastStops).toEqual([]);
      await target.close();
      expect(readStatus(vmm.pid)).toMatchObject({ comm: "sleep", tracerPid: 0 });
    });

    it("has other code where a system call was found: nothing of it is run", async () => {
      const vmm = await start("calm");
      const deadline = () => process.hrtime.bigint() + 5_000_000_000n;
      const mappings = readMappings(vmm.pid);
      const { code, ...found } = findGadgets(vmm.pid, mappings)!;
      const changed = { ...code[0]!, bytes: Buffer.from("c3c3c3", "hex") };
      const held = new HeldThreads(deadline, () => true);
      const alarm = new Alarm(20);
      alarm.start();
      const [tracee] = held.stop([new Tracee(vmm.pid, false)]);
      const around = { pid: vmm.pid, mappings, userfaultfd: false, gadgets: { ...found, code: [changed] } };
      const thread = new BorrowedThread(tracee!, around, deadline);
      expect(() => thread.ioctl(vmm.vmFd, 0, 0)).toThrow(ChangedProcessError);
      thread.giveBack();
      held.release();
      alarm.stop();
      expect((await vmm.status())["trouble"]).toBe("ok");
    });
  },
);
