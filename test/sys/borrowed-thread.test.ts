import { describe, expect, it } from "vitest";
import { findGadgets, readMappings } from "../../src/sys/address-space.ts";
import { Alarm } from "../../src/sys/alarm.ts";
import { BorrowedThread } from "../../src/sys/borrowed-thread.ts";
import { HeldThreads } from "../../src/sys/held-threads.ts";
import { listThreads, readThread } from "../../src/sys/proc.ts";
import { Tracee } from "../../src/sys/ptrace.ts";
import { Vm } from "../../src/sys/vm.ts";
import { BusyVmm, haveBusyVmm, leftovers } from "../support/attach.ts";

const TIMES = 20;

describe.skipIf(!haveBusyVmm)("a borrowed thread (needs /dev/kvm, root and a C compiler)", () => {
  it("goes on as if nothing had been, in user code, asleep, in a blocking read or in KVM_RUN", async () => {
    const vmm = await BusyVmm.start();
    const alarm = new Alarm(20);
    const deadline = () => process.hrtime.bigint() + 5_000_000_000n;
    const mappings = readMappings(vmm.pid);
    const around = {
      pid: vmm.pid,
      mappings,
      gadgets: findGadgets(vmm.pid, mappings)!,
    };
    const own = await vmm.chips();
    const threads = listThreads(vmm.pid)!.filter((tid) => readThread(vmm.pid, tid)?.worker === false);
    expect(threads.length).toBe(9);
    alarm.start();
    for (const tid of threads) {
      for (let n = 0; n < TIMES; n++) {
        const held = new HeldThreads(deadline);
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
  }, 60_000);
});
