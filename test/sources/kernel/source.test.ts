import { readFileSync } from "node:fs";
import { afterEach, describe, expect, it } from "vitest";
import type { Facts as X86Facts } from "../../../src/arch/x86/facts.ts";
import { readStatus, readTracer } from "../../../src/os/proc.ts";
import { type KernelSource, openByKernel } from "../../../src/sources/kernel/source.ts";
import type { Reading } from "../../../src/vm/reading.ts";
import { BusyVmm, haveBusyVmm } from "../../support/attach.ts";
import { has } from "../../support/commands.ts";
import { noKernelMemory } from "../../support/kernel-memory.ts";
import { comeAndGo, compareStates, SHAPES } from "../../support/kernel-soak.ts";
import { StateVmm } from "../../support/state-vmm.ts";

const open: { close(): Promise<void> }[] = [];
const vmms: { end(): Promise<unknown> }[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((source) => source.close()));
  await Promise.all(vmms.splice(0).map((vmm) => vmm.end()));
});

async function opened(pid: number): Promise<KernelSource> {
  const source = await openByKernel({ pid });
  open.push(source);
  return source;
}

async function start(...args: Parameters<typeof StateVmm.start>): Promise<StateVmm> {
  const vmm = await StateVmm.start(...args);
  vmms.push(vmm);
  return vmm;
}

/** scripts/soak-kernel.js tries more. */
const STATES = 6;

describe.skipIf(noKernelMemory !== undefined || !haveBusyVmm)("a VM in the memory of the kernel", () => {
  it.each(SHAPES.map((shape) => ({ name: shape.join(" "), shape })))(
    "equals what ioctls give, over random states: $name",
    async ({ shape }) => {
      expect(await compareStates(shape, STATES, 1)).toEqual([]);
    },
  );

  it("says what a VM has", async () => {
    const full = await opened((await start("full", 2)).pid);
    expect(full.identity).toMatchObject({
      irqchip: "full",
      vcpus: 2,
      chips: ["pic1", "pic2", "ioapic", "lapic[0]", "lapic[1]", "vcpu[0]", "vcpu[1]"],
    });
    const split = await opened((await start("split", 1)).pid);
    expect(split.identity).toMatchObject({ irqchip: "split", vcpus: 1, chips: ["lapic[0]", "vcpu[0]"] });
  });

  it("survives VMs that end while they are read", async () => {
    expect(await comeAndGo(16)).toEqual([]);
  });

  it("reads a VM in namespaces of its own, and one whose threads strace traces", async () => {
    for (const starter of [
      ["unshare", "-p", "-m", "-f"],
      ...(has("strace") ? [["strace", "-f", "-o", "/dev/null"]] : []),
    ]) {
      const vmm = await StateVmm.startBy(starter, "full", 2);
      vmms.push(vmm);
      await vmm.ask("random 3");
      const source = await opened(vmm.vmm);
      const { images } = await source.read({ chips: ["pic1", "ioapic", "lapic[1]"] });
      const own = await vmm.state();
      for (const { id, bytes } of images) expect(Buffer.from(bytes)).toEqual(own.get(id));
      expect(readTracer(readStatus(vmm.vmm))?.comm).toBe(starter[0] === "strace" ? "strace" : undefined);
    }
  });

  it("counts a local APIC's timer down between two looks of the VMM's own", async () => {
    const vmm = await start("full", 1);
    const source = await opened(vmm.pid);
    await vmm.ask("timer 0 4000000000");
    const count = (bytes: Uint8Array) => Buffer.from(bytes).readUInt32LE(0x390);
    const own = async () => count((await vmm.state()).get("lapic[0]")!);
    const before = await own();
    const { images } = await source.read({ chips: ["lapic[0]"] });
    const after = await own();
    const between = count(images[0]!.bytes);
    expect(before).toBeGreaterThan(between);
    expect(between).toBeGreaterThan(after);
  });

  it("tells running vCPUs from paused ones", async () => {
    const vmm = await start("full", 2);
    const source = await opened(vmm.pid);
    const runs = async () => [...(await source.read({ chips: ["vcpu[0]", "vcpu[1]"] })).runs.values()];
    expect(await runs()).toEqual([false, false]);
    await vmm.ask("run");
    await expect.poll(runs).toEqual([true, true]);
    await vmm.ask("pause");
    await expect.poll(runs).toEqual([false, false]);
  });

  it("stops nobody: a VMM whose filter kills any ioctl but KVM_RUN is read, and runs on", async () => {
    const vmm = await BusyVmm.start("seccomp");
    vmms.push(vmm);
    const source = await opened(vmm.pid);
    const before = vmm.counter();
    for (let n = 0; n < 50; n++) await source.read({ chips: source.identity.chips });
    await expect.poll(() => vmm.counter()).not.toBe(before);
    expect(await vmm.status()).toMatchObject({ trouble: "ok" });
  });

  it("reads a VMM that is stopped by SIGSTOP, which stays so", async () => {
    const vmm = await start("full", 1);
    process.kill(vmm.pid, "SIGSTOP");
    const source = await opened(vmm.pid);
    const { images, runs } = await source.read({ chips: ["pic1", "vcpu[0]"] });
    expect(images).toHaveLength(2);
    expect(runs.get(0)).toBe(false);
    process.kill(vmm.pid, "SIGCONT");
    expect(await vmm.ask("count")).toBe("0");
  });

  it("answers no-process for a VM that ended", async () => {
    const vmm = await start("full", 1);
    const source = await opened(vmm.pid);
    await vmm.end();
    await expect(source.read({ chips: ["pic1"] })).rejects.toMatchObject({ code: "no-process" });
  });

  it("can only be read", async () => {
    const vmm = await start("split", 1);
    const source = await opened(vmm.pid);
    expect(source.can()).toBe(false);
    await expect(source.perform("setIrqLines")).rejects.toMatchObject({ code: "unsupported" });
    await expect(source.read({ chips: ["pic1"] })).rejects.toMatchObject({ code: "bad-chip" });
  });

  const facts = async (vmm: StateVmm, ...names: string[]) =>
    (await (await opened(vmm.pid)).read({ chips: [], facts: names })) as Reading & { facts: X86Facts };

  it("has the routes that its VMM set, MSIs with 64-bit addresses among them", async () => {
    for (const irqchip of ["full", "split"] as const) {
      const vmm = await start(irqchip, 2, "x2apic-ids");
      expect((await facts(vmm, "routes")).routing).toEqual({
        value: irqchip === "full" ? "default" : [],
        from: "kernel memory",
      });
      const set = (await vmm.ask("route 7 64")).split(" ").map((word) => word.split("/"));
      const { facts: known, routing } = await facts(vmm, "routes");
      const inputs = ["pic1", "pic2", "ioapic"];
      const wanted = set.map(([gsi, kind, ...rest]) => {
        const [a, b, c] = rest.map(Number) as [number, number, number];
        const msi = { address: a, data: c, ...(b ? { address_hi: b } : {}) };
        return { gsi: Number(gsi), ...(kind === "msi" ? { msi } : { chip: inputs[a], pin: b }) };
      });
      const inOrder = (routes: readonly object[]) => routes.map((one) => JSON.stringify(one)).sort();
      expect(inOrder(known.routes!.value)).toEqual(inOrder(wanted));
      expect(known.routes!.from).toBe("kernel memory");
      expect(routing!.value).toEqual(known.routes!.value);
    }
  });

  it("has the irqfds that its VMM bound, what each has ready, and who has their eventfds open", async () => {
    const vmm = await start("full", 1);
    await vmm.ask("route 7 64");
    const bound = (await vmm.ask("irqfds 12")).split(" ").map((word) => word.split("/").map(Number));
    const { value } = (await facts(vmm, "irqfds")).facts.irqfds!;
    const id = (fd: number) =>
      Number(/eventfd-id: *(\d+)/.exec(readFileSync(`/proc/${vmm.pid}/fdinfo/${fd}`, "utf8"))![1]);
    const eventfd = (fd: number) => ({
      id: id(fd),
      count: 0,
      holders: [{ pid: vmm.pid, comm: "state-vmm", fd, is: "vmm" }],
    });
    expect(value).toMatchObject(
      bound.map(([gsi, fd, resample]) => ({
        gsi,
        eventfd: eventfd(fd!),
        ...(resample === -1 ? {} : { resample: eventfd(resample!) }),
      })),
    );
    expect(value.find(({ gsi }) => gsi === 24)!.entry).toMatchObject({ gsi: 24, msi: {} });
    expect(value.every(({ producer }) => producer === false)).toBe(true);
  });

  it("knows who holds a line up, edges that were delivered, and the PICs' output", async () => {
    const vmm = await start("full", 1);
    await vmm.ask("line 4 1");
    const { lines } = (await facts(vmm, "lines")).facts;
    expect(lines!.value.held).toEqual([
      { chip: "pic1", pin: 4, by: ["line"] },
      { chip: "ioapic", pin: 4, by: ["line"] },
    ]);
    expect(lines!.value).toMatchObject({
      irr_delivered: [],
      rtc: { pending_eoi: 0, vcpus: [] },
      pic_output: true,
    });
    await vmm.ask("line 4 0");
    expect((await facts(vmm, "lines")).facts.lines!.value.held).toEqual([]);
  });

  it("knows when a timer fires, and what the PIT does", async () => {
    const vmm = await start("full", 2, "pit");
    await vmm.ask("timer 1 4000000000");
    const { lapic, pit } = (await facts(vmm, "timers")).facts.timers!.value;
    expect(pit).toMatchObject({ reinject: true, pending: 0 });
    expect(lapic[0]).toEqual({ vcpu: 0, mode: "one-shot", pending: 0 });
    expect(lapic[1]).toMatchObject({ vcpu: 1, mode: "one-shot", pending: 0, period_ns: 4_000_000_000 });
    expect(lapic[1]!.fires_in_ns).toBeLessThan(4_000_000_000);
    expect(lapic[1]!.fires_in_ns).toBeGreaterThan(0);
  });

  it("names what inhibits APICv, and says why there are no posted interrupts", async () => {
    const vmm = await start("full", 1, "pit");
    const { facts: known, unknown } = await facts(vmm, "apicv", "posted");
    expect(known.apicv!.value.vcpus).toHaveLength(1);
    // Off for want of hardware, or of the PIT, which starts in reinjection mode.
    const { inhibits } = known.apicv!.value;
    expect(inhibits.filter((name) => ["DISABLED", "DISABLE", "PIT_REINJ"].includes(name))).not.toEqual([]);
    if (known.posted === undefined) expect(unknown!["posted"]).toMatch(/posts/);
    else expect(known.posted.value).toHaveLength(1);
  });

  it("has none of what a split irqchip lacks, and says so", async () => {
    const vmm = await start("split", 1);
    const { facts: known, unknown } = await facts(vmm, "lines", "timers");
    expect(known).not.toHaveProperty("lines");
    expect(unknown!["lines"]).toMatch(/neither PICs nor an IOAPIC/);
    expect(known.timers!.value).not.toHaveProperty("pit");
  });
});
