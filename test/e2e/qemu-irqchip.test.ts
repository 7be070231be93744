import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { haveQemu } from "../support/attach.ts";
import { finished, User, until } from "../support/cli.ts";
import { Qemu } from "../support/qemu.ts";

const WORDS = {
  split:
    "the PICs and the IOAPIC are emulated in the VMM's user space; the kernel has the local APICs (split irqchip)",
  none: "all interrupt controllers are emulated in the VMM's user space; the kernel has none (no irqchip)",
} as const;

describe.skipIf(!haveQemu).each([
  ["split", "split", ["lapic"]],
  ["off", "none", []],
] as const)(
  "QEMU with kernel-irqchip=%s (needs qemu-system-x86_64 and /dev/kvm)",
  (option, irqchip, chips) => {
    const user = new User({ NO_COLOR: "1" });
    let qemu: Qemu;
    let target: string[];

    beforeAll(async () => {
      qemu = await Qemu.start("-machine", `q35,kernel-irqchip=${option}`, "-smp", "2", "-S");
      target = ["--pid", String(qemu.pid)];
    }, 60_000);
    afterAll(async () => {
      await qemu?.end();
      expect(user.dispose()).toEqual([]);
    });

    it("is dumped with what the kernel has, and a line for the rest", () => {
      const snapshot = user.json([...target, "dump"]);
      expect(snapshot).toMatchObject({ irqchip, vcpus: [{ run: false }, { run: false }] });
      expect(Object.keys(snapshot.chips)).toEqual(chips);
      const text = user.ok([...target, "dump"]);
      expect(text.split("\n")).toContain(WORDS[irqchip]);
      expect(text).toMatch(/^vCPU 1 .*, not running$/m);
      const saved = user.run(["--snapshot", "-", "dump"], { input: JSON.stringify(snapshot) }).stdout;
      expect(saved.split("\n")).toContain(WORDS[irqchip]);
    });

    it("has no other chips to ask for", () => {
      const { status, stderr } = user.run([...target, "dump", "--chip", "ioapic"]);
      expect(status).toBe(2);
      expect(stderr).toMatch(/^kvm-irq: ioapic of pid \d+ \(qemu-system-x86_64\) can't be read: /);
      const hint = irqchip === "split" ? "there are: lapic[0], lapic[1]" : "no chip can be read";
      expect(stderr).toContain(`${WORDS[irqchip]}\nhint: ${hint}\n`);
    });

    it("is watched and compared", async () => {
      const child = user.start([...target, "watch", "--json"]);
      let lines = "";
      child.stdout!.on("data", (chunk) => {
        lines += chunk;
      });
      await until("the first line", () => lines.includes("\n"));
      child.kill("SIGINT");
      await finished(child);
      expect(JSON.parse(lines.split("\n")[0]!)).toMatchObject({ reading: 1, irqchip });
      const input = user.ok([...target, "dump", "--json"]);
      expect(user.run(["diff", "-", `pid:${qemu.pid}`], { input })).toMatchObject({
        status: 0,
        stdout: "nothing differs\n",
      });
    });

    it("is explained without an error of the kernel's", () => {
      for (const args of [[], ["4"]]) {
        const { status, stdout } = user.run([...target, "explain", ...args]);
        expect(status).toBe(0);
        expect(stdout.replace(/\s+/g, " ")).toContain(WORDS[irqchip]);
      }
    });
  },
);

describe.skipIf(!haveQemu)("QEMU without an irqchip in the kernel, its guest halted", () => {
  const user = new User({ NO_COLOR: "1" });
  const folder = mkdtempSync(join(tmpdir(), "boot-"));
  let qemu: Qemu;

  beforeAll(async () => {
    const disk = Buffer.alloc(512);
    // cli; hlt; jmp: and what makes a boot sector of it.
    disk.set([0xfa, 0xf4, 0xeb, 0xfd]);
    disk.set([0x55, 0xaa], 510);
    writeFileSync(join(folder, "disk"), disk);
    qemu = await Qemu.start(
      "-machine",
      "kernel-irqchip=off",
      "-drive",
      `file=${join(folder, "disk")},format=raw`,
    );
  }, 60_000);
  afterAll(async () => {
    await qemu?.end();
    rmSync(folder, { recursive: true });
    expect(user.dispose()).toEqual([]);
  });

  it("is not said to be paused", async () => {
    let vcpus: object[] = [];
    // Of a vCPU that is in KVM_RUN, or at work on an exit, it is known that it runs.
    await until(
      "the vCPU is halted",
      () => {
        ({ vcpus } = user.json(["--pid", String(qemu.pid), "dump"]));
        return !vcpus.some((vcpu) => "run" in vcpu && vcpu.run === true);
      },
      50_000,
    );
    expect(vcpus).toHaveLength(1);
    expect(vcpus[0]).not.toHaveProperty("run");
  }, 60_000);
});
