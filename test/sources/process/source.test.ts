import { spawnSync } from "node:child_process";
import { afterEach, describe, expect, it } from "vitest";
import { openBy } from "../../../src/sources/process/source.ts";
import { haveBusyVmm } from "../../support/attach.ts";
import { noKernelMemory } from "../../support/kernel-memory.ts";
import { StateVmm } from "../../support/state-vmm.ts";

const MAIN = "bin/kvm-irq.js";
const ends: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

async function start(...args: Parameters<typeof StateVmm.start>): Promise<StateVmm> {
  const vmm = await StateVmm.start(...args);
  ends.push(() => vmm.end());
  return vmm;
}

function kvmIrq(vmm: StateVmm, ...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, "--pid", `${vmm.pid}`, ...args], {
    encoding: "utf8",
  });
  return { status, stdout, stderr };
}

describe.skipIf(noKernelMemory !== undefined || !haveBusyVmm)("--via", () => {
  it("says which way was taken, in text and as JSON", async () => {
    const vmm = await start("full", 1);
    for (const [args, text, via] of [
      [[], "by kernel memory", "kernel"],
      [["--via", "auto"], "by kernel memory", "kernel"],
      [["--via", "kernel"], "by kernel memory", "kernel"],
      [["--via", "ptrace"], "by ptrace", "ptrace"],
    ] as const) {
      expect(kvmIrq(vmm, ...args, "dump", "--chip", "pic1").stdout).toContain(`, ${text}, `);
      const json = JSON.parse(kvmIrq(vmm, ...args, "dump", "--chip", "pic1", "--json").stdout);
      expect(json.source).toMatchObject({ pid: vmm.pid, via });
    }
  });

  it("takes kernel for reading alone", async () => {
    const vmm = await start("full", 1);
    const { status, stderr } = kvmIrq(vmm, "--via", "kernel", "pulse", "4", "--yes");
    expect(status).toBe(2);
    expect(stderr).toMatch(/--via kernel only reads\nhint: leave it out/);
  });

  it("reads by the kernel's memory and writes by ptrace when it is auto", async () => {
    const vmm = await start("full", 1);
    const source = await openBy("auto", { pid: vmm.pid });
    ends.push(() => source.close());
    const [pic] = (await source.read({ chips: ["pic1"] })).images;
    expect(source.can("setIrqLines")).toBe(true);
    await source.perform("setIrqLines", { steps: [{ gsi: 4 as never, level: 1 }], transient: false });
    const [after] = (await source.read({ chips: ["pic1"] })).images;
    expect(pic!.bytes[0]).toBe(0);
    expect(after!.bytes[0]).toBe(0x10);
  });

  it("shows the local APICs of a split irqchip, which ptrace can read too", async () => {
    const vmm = await start("split", 2);
    const { stdout, status } = kvmIrq(vmm, "dump", "--json");
    expect(status).toBe(0);
    const { chips, irqchip } = JSON.parse(stdout);
    expect(irqchip).toBe("split");
    expect(Object.keys(chips)).toEqual(["lapic"]);
    expect(chips.lapic).toHaveLength(2);
  });
});

describe.skipIf(noKernelMemory !== undefined || !haveBusyVmm)("--via without permission for BPF", () => {
  /** Root that may trace, and not load BPF programs. */
  function withoutBpf(vmm: StateVmm, ...args: string[]) {
    const all = [MAIN, "--pid", `${vmm.pid}`, ...args];
    const drop = ["--bounding-set=-bpf,-perfmon,-sys_admin", "--inh-caps=-all", process.execPath, ...all];
    const { status, stdout, stderr } = spawnSync("setpriv", drop, { encoding: "utf8" });
    return { status, stdout, stderr };
  }

  it("is refused with a hint when it is kernel", async () => {
    const vmm = await start("full", 1);
    const { status, stderr } = withoutBpf(vmm, "--via", "kernel", "dump");
    expect(status).toBe(3);
    expect(stderr).toMatch(/^kvm-irq: kernel memory can't be read: .*\nhint: run as root/);
  });

  it("takes ptrace in silence when it is auto, and says so as JSON", async () => {
    const vmm = await start("full", 1);
    const { status, stdout, stderr } = withoutBpf(vmm, "dump", "--chip", "pic", "--json");
    expect(stderr).toBe("");
    expect(status).toBe(0);
    expect(JSON.parse(stdout).source.via).toBe("ptrace");
  });
});
