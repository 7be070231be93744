import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { decodeIoapic, encodeIoapic } from "../../../src/arch/x86/ioapic/layout.ts";
import { decodeLapic } from "../../../src/arch/x86/lapic/layout.ts";
import { decodePic } from "../../../src/arch/x86/pic/layout.ts";
import { decodeVcpu } from "../../../src/arch/x86/vcpu/layout.ts";
import { findVmsOf } from "../../../src/sources/attach/processes.ts";
import { openProcess, type ProcessSource } from "../../../src/sources/attach/source.ts";
import type { ChipId } from "../../../src/vm/chip.ts";
import { haveQemu, leftovers } from "../../support/attach.ts";
import { parseInfoLapic, parseInfoPic, picsOf, Qemu } from "../../support/qemu.ts";

const VCPUS = [0, 1, 2, 3] as const;

describe.skipIf(!haveQemu)("attaching to QEMU (needs qemu-system-x86_64 and /dev/kvm)", () => {
  let qemu: Qemu;
  let target: ProcessSource;

  beforeAll(async () => {
    qemu = await Qemu.start("-machine", "pc", "-smp", "4", "-name", "guest=oracle,debug-threads=on");
    target = await openProcess({ pid: qemu.pid });
  }, 60_000);

  afterAll(async () => {
    await target?.close();
    await qemu?.end();
  });

  async function comparePics(): Promise<void> {
    const [text, [pic1, pic2, ioapic]] = await qemu.beside("info pic", async () =>
      (await target.read({ chips: ["pic1", "pic2", "ioapic"] })).images.map(({ bytes }) => bytes),
    );
    const theirs = parseInfoPic(text);
    expect(theirs.pins).toHaveLength(24);
    expect(picsOf({ pic1: decodePic(pic1!), pic2: decodePic(pic2!), ioapic: decodeIoapic(ioapic!) })).toEqual(
      theirs,
    );
  }

  async function compareLapics(): Promise<void> {
    for (const vcpu of VCPUS) {
      // With a number as its argument, QEMU 7.2's `info lapic` shows what it read last, not what is.
      await qemu.monitor(`cpu ${vcpu}`);
      const [text, reading] = await qemu.beside("info lapic", () =>
        target.read({ chips: [`lapic[${vcpu}]`] }),
      );
      const theirs = parseInfoLapic(text);
      expect(Object.keys(theirs)).toHaveLength(13);
      expect(decodeLapic(reading.images[0]!.bytes, vcpu)).toMatchObject(theirs);
    }
  }

  it("finds the VM, its guest's name and its vCPUs", async () => {
    const [vm, ...others] = await findVmsOf(qemu.pid);
    expect(others).toEqual([]);
    expect(vm).toMatchObject({ name: "oracle", vcpus: 4, attachable: { allowed: true }, holder: false });
    expect(vm!.vcpu_fds.map(({ vcpu }) => vcpu)).toEqual([0, 1, 2, 3]);
  });

  it("agrees with `info pic` on every register and pin while the guest runs", comparePics);
  it("agrees with `info lapic` for every vCPU while the guest runs", compareLapics, 60_000);

  it("agrees with `info registers` on RFLAGS and RIP, and stops a thread once with all, and once a look", async () => {
    await qemu.execute("stop");
    const { images } = await target.read({ chips: VCPUS.map((vcpu): ChipId => `vcpu[${vcpu}]`) });
    // A thread that runs when it is looked at, and then turns out not to be in KVM_RUN, was stopped for that.
    const threads = target.lastStops.map(({ tid }) => tid);
    const stopsOf = (tid: number) => threads.filter((other) => other === tid).length;
    const looks = 2;
    expect(Math.max(...threads.map(stopsOf))).toBeLessThanOrEqual(looks + 1);
    await qemu.monitor("cpu 0");
    const text = await qemu.monitor("info registers");
    const state = decodeVcpu(images[0]!.bytes, 0);
    expect(state.rflags).toBe(Number.parseInt(/[ER]FL=(\w+)/.exec(text)![1]!, 16));
    expect(state.rip).toBe(Number.parseInt(/[ER]IP=(\w+)/.exec(text)![1]!, 16));
    await qemu.execute("cont");
  });

  it("agrees while the guest is paused, when no thread is in KVM_RUN", async () => {
    await qemu.execute("stop");
    await comparePics();
    await compareLapics();
    await qemu.execute("cont");
  }, 60_000);

  it("writes the IOAPIC: QEMU reads back each field that was set", async () => {
    await qemu.execute("stop");
    const [before] = (await target.read({ chips: ["ioapic"] })).images;
    const state = decodeIoapic(before!.bytes);
    Object.assign(state.redirtbl[20]!, { vector: 0x51, trig_mode: "level", polarity: "low", dest_id: 2 });
    await target.perform("writeChips", {
      images: [{ id: "ioapic", bytes: encodeIoapic(state) }],
      expected: [before!],
    });
    const pin = parseInfoPic(await qemu.monitor("info pic")).pins[20]!;
    expect(pin).toBe((2n << 56n) | (1n << 16n) | (1n << 15n) | (1n << 13n) | 0x51n);
    await target.perform("writeChips", { images: [before!], expected: [] });
    await comparePics();
    await qemu.execute("cont");
  });

  it("leaves QEMU running, with no thread held", async () => {
    expect(await qemu.monitor("info status")).toContain("running");
    expect(leftovers(qemu.pid)).toEqual([]);
  });
});

describe.skipIf(!haveQemu)("attaching to a QEMU that emulates its chips", () => {
  it("says that the VM has no in-kernel chips, and who has them", async () => {
    const qemu = await Qemu.start("-machine", "q35,kernel-irqchip=split", "-S");
    try {
      const target = await openProcess({ pid: qemu.pid });
      await expect(target.read({ chips: ["ioapic"] })).rejects.toMatchObject({
        code: "kernel-refused",
        hint: expect.stringContaining("kernel-irqchip"),
        details: { errno_name: "ENXIO" },
      });
      const [lapic] = (await target.read({ chips: ["lapic[0]"] })).images;
      expect(decodeLapic(lapic!.bytes, 0).version).toBeGreaterThan(0);
      await target.close();
      expect(leftovers(qemu.pid)).toEqual([]);
    } finally {
      await qemu.end();
    }
  }, 60_000);
});
