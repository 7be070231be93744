import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import { decodeIoapic } from "../../../src/arch/x86/ioapic/layout.ts";
import { decodeLapic } from "../../../src/arch/x86/lapic/layout.ts";
import { decodePic } from "../../../src/arch/x86/pic/layout.ts";
import { applyPreset } from "../../../src/arch/x86/presets.ts";
import { KvmMachine } from "../../../src/kvm/kvm-machine.ts";
import { readSource } from "../../../src/operations/take-snapshot.ts";
import { readStatus } from "../../../src/os/proc.ts";
import { findVms, findVmsOf } from "../../../src/sources/attach/processes.ts";
import { openProcess } from "../../../src/sources/attach/source.ts";
import { HOLDER_PROGRAM } from "../../../src/sources/session/protocol.ts";
import type { ChipId } from "../../../src/vm/chip.ts";
import { setIrqLines } from "../../../src/vm/machine.ts";
import { BusyVmm, bundle, haveBusyVmm, leftovers } from "../../support/attach.ts";
import { until } from "../../support/cli.ts";
import { haveKvm } from "../../support/kvm.ts";

const VM_CHIPS: readonly ChipId[] = ["pic1", "pic2", "ioapic"];
const mayAttach = haveKvm && process.getuid?.() === 0;

const children: ChildProcess[] = [];
const vmms: BusyVmm[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  for (const vmm of vmms.splice(0)) await vmm.end();
});

function start(program: string, ...args: string[]): ChildProcess {
  const child = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] });
  children.push(child);
  return child;
}

async function startBusy(...args: string[]): Promise<BusyVmm> {
  const vmm = await BusyVmm.start(...args);
  vmms.push(vmm);
  return vmm;
}

async function startStatic(...args: string[]): Promise<{ pid: number; chips: Record<string, string>[] }> {
  const child = start(process.execPath, bundle("static-vmm"), ...args);
  const [line] = (await once(createInterface({ input: child.stdout! }), "line")) as [string];
  return { pid: child.pid!, chips: JSON.parse(line) };
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

describe.skipIf(!mayAttach)("a VMM in a known state (needs /dev/kvm and root)", () => {
  it("is read as its own process reads it", async () => {
    const { pid, chips } = await startStatic();
    const target = await openProcess({ pid });
    const ids = Object.keys(chips[0]!) as ChipId[];
    const { images } = await target.read({ chips: ids });
    expect(Object.fromEntries(images.map(({ id, bytes }) => [id, hex(bytes)]))).toEqual(chips[0]);
    const [pic1, , ioapic, lapic0, lapic1] = images.map(({ bytes }) => bytes);
    expect(decodePic(pic1!)).toMatchObject({ imr: 0xff, irr: (1 << 4) | (1 << 7) });
    expect(decodeIoapic(ioapic!).redirtbl[20]).toMatchObject({ remote_irr: true, vector: 0x44 });
    expect(decodeLapic(lapic0!, 0)).toMatchObject({ irr: [0x34, 0x37, 0x44], tmr: [0x44], isr: [] });
    expect(decodeLapic(lapic1!, 1).isr).toEqual([0x61]);
    await target.close();
  });

  it("answers pulses and takes writes, all of one call in one stop", async () => {
    const { pid } = await startStatic();
    const target = await openProcess({ pid });
    const steps = [5, 5, 5].map((gsi, index) => ({ gsi, level: (index % 2 === 0 ? 1 : 0) as 0 | 1 }));
    const here = new KvmMachine(2);
    applyPreset(here, "ioapic");
    expect(await target.perform("setIrqLines", { steps, transient: false })).toEqual({
      statuses: setIrqLines(here, steps),
    });
    here.close();
    expect(target.lastStops).toHaveLength(1);
    const [before] = (await target.read({ chips: ["pic1"] })).images;
    const bytes = Uint8Array.from(before!.bytes);
    bytes[2] = 0x5a;
    await target.perform("writeChips", { images: [{ id: "pic1", bytes }], expected: [before!] });
    expect(decodePic((await target.read({ chips: ["pic1"] })).images[0]!.bytes).imr).toBe(0x5a);
    await expect(
      target.perform("writeChips", { images: [before!], expected: [before!] }),
    ).rejects.toMatchObject({ code: "conflict" });
    expect(decodePic((await target.read({ chips: ["pic1"] })).images[0]!.bytes).imr).toBe(0x5a);
    await target.close();
  });

  it("sends MSIs, and leaves the VMM's routing and irqfds alone", async () => {
    const { pid } = await startStatic();
    const target = await openProcess({ pid });
    const to = (apic: number) => ({ address: 0xfee0_0000 + apic * 0x1000, data: 0x71 });
    expect(await target.perform("signalMsis", { messages: [to(0), to(9)] })).toEqual({ statuses: [1, 0] });
    const [lapic] = (await target.read({ chips: ["lapic[0]"] })).images;
    expect(decodeLapic(lapic!.bytes, 0).irr).toContain(0x71);
    await expect(target.perform("signalMsis", { messages: [{ address: 0, data: 0 }] })).rejects.toMatchObject(
      { code: "bad-msi" },
    );
    await expect(target.perform("setRouting", { routing: "default" })).rejects.toMatchObject({
      code: "unsupported",
    });
    await expect(target.perform("irqfd", { action: { do: "list" } })).rejects.toMatchObject({
      code: "unsupported",
    });
    await target.close();
  });

  it("gives back what it had written when a later chip is refused", async () => {
    const { pid, chips } = await startStatic();
    const target = await openProcess({ pid });
    const [pic1] = (await target.read({ chips: ["pic1"] })).images;
    const changed = Uint8Array.from(pic1!.bytes).fill(0x11, 2, 3);
    const refused = target.perform("writeChips", {
      images: [
        { id: "pic1", bytes: changed },
        { id: "vcpu[0]", bytes: new Uint8Array(4) },
      ],
      expected: [],
    });
    await expect(refused).rejects.toMatchObject({ code: "unsupported" });
    expect(hex((await target.read({ chips: ["pic1"] })).images[0]!.bytes)).toBe(chips[0]!["pic1"]);
    expect(leftovers(pid)).toEqual([]);
    await target.close();
  });

  it("is described without being stopped", async () => {
    const { pid } = await startStatic();
    const target = await openProcess({ pid });
    expect(target.identity).toMatchObject({
      source: { kind: "process", pid, vm_fd: expect.any(Number), command: "node" },
      chips: ["pic1", "pic2", "ioapic", "lapic[0]", "lapic[1]", "vcpu[0]", "vcpu[1]"],
      label: expect.stringContaining(`pid ${pid}`),
    });
    expect(target.lastStops).toEqual([]);
    await target.close();
  });

  it("must be told which VM, when a process has several, and then reads that one", async () => {
    const { pid, chips } = await startStatic("2");
    const vms = await findVmsOf(pid);
    expect(vms.map(({ vcpus }) => vcpus)).toEqual([null, null]);
    await expect(openProcess({ pid })).rejects.toMatchObject({
      code: "usage",
      details: { vm_fds: vms.map(({ vm_fd }) => vm_fd) },
    });
    await expect(openProcess({ pid, vmFd: 1 })).rejects.toMatchObject({ code: "no-vm" });
    const target = await openProcess({ pid, vmFd: vms[1]!.vm_fd });
    expect(hex((await target.read({ chips: ["ioapic"] })).images[0]!.bytes)).toBe(chips[1]!["ioapic"]);
    await expect(target.read({ chips: ["lapic[0]"] })).rejects.toMatchObject({ code: "unsupported" });
    await target.close();
  });

  it("is known as a session's holder by its arguments", async () => {
    const { pid } = await startStatic("1", HOLDER_PROGRAM);
    // Not always "node": newer ones call their main thread otherwise.
    const command = readFileSync(`/proc/${pid}/comm`, "utf8").trim();
    expect((await findVms()).find((vm) => vm.pid === pid)).toMatchObject({ holder: true, command });
    const target = await openProcess({ pid });
    expect(target.identity.holder).toBe(true);
    expect((await target.read({ chips: ["pic1"] })).images).toHaveLength(1);
    await target.close();
  });

  it("has no vCPU beyond those that it has", async () => {
    const { pid } = await startStatic();
    const target = await openProcess({ pid });
    await expect(target.read({ chips: ["lapic[2]"] })).rejects.toMatchObject({ code: "bad-chip" });
    await target.close();
  });
});

describe.skipIf(!haveBusyVmm)("a busy VMM (needs /dev/kvm, root and a C compiler)", () => {
  async function readAndCompare(vmm: BusyVmm): Promise<number> {
    const target = await openProcess({ pid: vmm.pid });
    const { images } = await target.read({ chips: VM_CHIPS });
    await target.close();
    const own = await vmm.chips();
    expect(Object.fromEntries(images.map(({ id, bytes }) => [id, hex(bytes)]))).toEqual(own);
    expect(leftovers(vmm.pid)).toEqual([]);
    return target.lastStops.length;
  }

  it("is stopped in one thread, none of its vCPUs', for the VM's chips", async () => {
    const vmm = await startBusy();
    expect(await readAndCompare(vmm)).toBe(1);
    expect(Number((await vmm.status())["runs"])).toBe(0);
  });

  it("has its vCPUs read in and out of KVM_RUN", async () => {
    const vmm = await startBusy();
    const target = await openProcess({ pid: vmm.pid });
    const ids: ChipId[] = ["lapic[0]", "vcpu[0]", "lapic[1]", "vcpu[1]"];
    const running = (await target.read({ chips: ids })).images;
    expect(running.map(({ bytes }) => bytes.length)).toEqual([1024, 524, 1024, 524]);
    await vmm.ask("pause");
    const paused = (await target.read({ chips: ids })).images;
    expect(hex(paused[2]!.bytes)).toBe(hex(running[2]!.bytes));
    await vmm.ask("resume");
    expect((await vmm.status())["trouble"]).toBe("ok");
    await target.close();
  });

  async function runsOf(vmm: BusyVmm): Promise<(boolean | undefined)[]> {
    const target = await openProcess({ pid: vmm.pid });
    const { vcpus } = (await readSource(target)).snapshot;
    await target.close();
    return vcpus!.map(({ run }) => run);
  }

  it("shows which of its vCPUs run: in KVM_RUN, paused, resumed, held by SIGSTOP", async () => {
    const vmm = await startBusy("calm");
    expect(await runsOf(vmm)).toEqual([true, true]);
    await vmm.ask("pause");
    expect(await runsOf(vmm)).toEqual([false, false]);
    await vmm.ask("resume");
    await until("both vCPUs are back in KVM_RUN", async () => (await runsOf(vmm)).join() === "true,true");
    process.kill(vmm.pid, "SIGSTOP");
    await until("all threads have stopped", () => readStatus(vmm.pid)?.state === "T");
    expect(await runsOf(vmm)).toEqual([false, false]);
    process.kill(vmm.pid, "SIGCONT");
  });

  it.each(["spin", "sleep"])("is not taken for paused while its thread handles exits (%s)", async (how) => {
    const vmm = await startBusy(how);
    for (let times = 0; times < 10; times++) expect((await runsOf(vmm))[0]).not.toBe(false);
    expect((await vmm.status())["trouble"]).toBe("ok");
  });

  it("is read on a stack that malloc made, without touching what is below", async () => {
    await readAndCompare(await startBusy("heap-stack"));
  });

  it("is read, vCPUs on stacks from malloc too, through memory that another thread maps", async () => {
    const vmm = await startBusy("heap-stack");
    const target = await openProcess({ pid: vmm.pid });
    const { images } = await target.read({ chips: ["lapic[0]", "lapic[1]"] });
    expect(images.map(({ bytes }) => bytes.length)).toEqual([1024, 1024]);
    // Two vCPUs' threads, and for each the one that maps.
    expect(target.lastStops.length).toBeGreaterThanOrEqual(4);
    await target.close();
    expect((await vmm.status())["trouble"]).toBe("ok");
    expect(leftovers(vmm.pid)).toEqual([]);
  });

  it("is read on a stack whose pages userfaultfd never fills, without touching them", async () => {
    await readAndCompare(await startBusy("uffd-stack"));
  }, 10_000);

  it("is read while SIGSTOP holds it, and stays stopped", async () => {
    const vmm = await startBusy();
    const before = await vmm.chips();
    process.kill(vmm.pid, "SIGSTOP");
    await sleep(50);
    const target = await openProcess({ pid: vmm.pid });
    const { images } = await target.read({ chips: [...VM_CHIPS, "lapic[0]"] });
    expect(hex(images[0]!.bytes)).toBe(before["pic1"]);
    await sleep(50);
    expect(readStatus(vmm.pid)).toMatchObject({ state: "T", tracerPid: 0 });
    process.kill(vmm.pid, "SIGCONT");
    expect((await vmm.status())["trouble"]).toBe("ok");
    await target.close();
  });

  it("has its seccomp filter suspended meanwhile", async () => {
    const vmm = await startBusy("seccomp");
    const target = await openProcess({ pid: vmm.pid });
    expect(decodePic((await target.read({ chips: ["pic1"] })).images[0]!.bytes).imr).toBe(0xa5);
    expect((await vmm.status())["trouble"]).toBe("ok");
    await target.close();
  });

  it("is let go before Ctrl-Z stops the program that attaches", async () => {
    const vmm = await startBusy("calm");
    const driver = [process.execPath, bundle("attach-driver"), String(vmm.pid), "1000000", ...VM_CHIPS];
    // SIGTSTP stops nobody in an orphaned process group, as the tests' own may be: a shell makes one with a
    // parent outside it.
    const parent = start("bash", "-c", 'set -m; "$@" & echo $!; exec sleep 100', "bash", ...driver);
    const lines = createInterface({ input: parent.stdout! })[Symbol.asyncIterator]();
    const pid = Number((await lines.next()).value);
    try {
      expect((await lines.next()).value).toBe("attached");
      for (let n = 0; n < 10; n++) {
        process.kill(pid, "SIGTSTP");
        await until("the program has stopped", () => readStatus(pid)?.state === "T");
        expect(leftovers(vmm.pid)).toEqual([]);
        process.kill(pid, "SIGCONT");
        await sleep(Math.random() * 5);
      }
    } finally {
      process.kill(pid, "SIGKILL");
    }
    expect((await vmm.status())["trouble"]).toBe("ok");
  });

  it("ends meanwhile: the next call says so, and it does not stay a zombie", async () => {
    const vmm = await startBusy();
    const target = await openProcess({ pid: vmm.pid });
    await target.read({ chips: ["pic1"] });
    expect(await vmm.end()).toBe("SIGKILL");
    await expect(target.read({ chips: ["pic1"] })).rejects.toMatchObject({ code: "no-process" });
    await target.close();
  });
});

describe("processes that can't be attached to", () => {
  it("that do not exist", async () => {
    await expect(openProcess({ pid: 2 ** 22 + 1 })).rejects.toMatchObject({ code: "no-process" });
  });

  it("that are this process", async () => {
    await expect(openProcess({ pid: process.pid })).rejects.toMatchObject({ code: "attach-refused" });
  });

  it.skipIf(readStatus(2)?.comm !== "kthreadd")("that are kernel threads", async () => {
    await expect(openProcess({ pid: 2 })).rejects.toMatchObject({
      code: "no-vm",
      message: expect.stringContaining("kernel"),
    });
  });

  it.skipIf(process.getuid?.() !== 0)("that have no VM", async () => {
    const child = start("sleep", "60");
    await expect(openProcess({ pid: child.pid! })).rejects.toMatchObject({ code: "no-vm" });
  });

  it("that are a thread of another", async () => {
    const tid = Number(readdirSync("/proc/self/task").at(-1));
    await expect(openProcess({ pid: tid })).rejects.toMatchObject({
      code: "no-process",
      hint: expect.stringContaining(String(process.pid)),
    });
  });

  it.skipIf(!haveBusyVmm)("that are traced: the tracer is named", async () => {
    const vmm = await startBusy();
    const driver = start(process.execPath, bundle("attach-driver"), String(vmm.pid), "1000000", ...VM_CHIPS);
    await once(createInterface({ input: driver.stdout! }), "line");
    // Stopped, so that it holds on; at some moment it does so while it traces.
    let traced = false;
    for (let tries = 0; tries < 500 && !traced; tries++) {
      driver.kill("SIGSTOP");
      await sleep(5);
      traced = readStatus(vmm.pid)?.tracerPid === driver.pid;
      if (!traced) driver.kill("SIGCONT");
    }
    expect(traced).toBe(true);
    await expect(openProcess({ pid: vmm.pid })).rejects.toMatchObject({
      code: "attach-refused",
      message: expect.stringContaining(`pid ${driver.pid}`),
    });
    driver.kill("SIGKILL");
    await once(driver, "exit");
    expect((await vmm.status())["trouble"]).toBe("ok");
    expect(leftovers(vmm.pid)).toEqual([]);
  });

  it.skipIf(!haveBusyVmm)("that belong to somebody else, tried as another user", async () => {
    const vmm = await startBusy();
    const as = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    const driver = start(
      "setpriv",
      ...as,
      process.execPath,
      bundle("attach-driver"),
      String(vmm.pid),
      "1",
      "pic1",
    );
    const [line] = (await once(createInterface({ input: driver.stdout! }), "line")) as [string];
    expect(JSON.parse(line)).toMatchObject({
      error: { code: "attach-refused", message: expect.stringContaining("another user") },
    });
  });
});
