import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Explanation, Way } from "../../src/rules/explanation.ts";
import { haveQemu, leftovers } from "../support/attach.ts";
import { finished, User, until } from "../support/cli.ts";
import { noKernelMemory } from "../support/kernel-memory.ts";
import { parseInfoLapic, parseInfoPic, Qemu, type QemuPics } from "../support/qemu.ts";

function picPinOf(gsi: number): { chip: "pic1" | "pic2"; pin: number } {
  return { chip: gsi < 8 ? "pic1" : "pic2", pin: gsi % 8 };
}

/** How the sentence has to begin, by the registers that QEMU shows. The BIOS has every IOAPIC pin masked. */
function sentenceBy(pics: QemuPics, gsi: number): RegExp {
  const { chip, pin } = picPinOf(gsi);
  const { imr, irq_base } = pics[chip];
  if (((imr >> pin) & 1) === 1) {
    return new RegExp(`^GSI ${gsi} is blocked: IOAPIC pin ${gsi} is masked .* IMR bit ${pin}$`);
  }
  // The timer is ahead of all others.
  const timerFirst = gsi !== 0 && (pics.pic1.irr & ~pics.pic1.imr & 1) === 1;
  if (timerFirst) return new RegExp(`^GSI ${gsi} is held: pic1 pin 0 is requested first`);
  const vector = (irq_base + pin).toString(16).padStart(2, "0");
  return new RegExp(`^GSI ${gsi} would reach vCPU 0 as vector 0x${vector} through the PIC`);
}

/** No ioctl tells the routing that QEMU has set. */
const KNOWN = ["--routing", "qemu"];

describe.skipIf(!haveQemu).each(["pc", "q35"])(
  "explain on QEMU's %s in its BIOS (needs qemu-system-x86_64 and /dev/kvm)",
  (machine) => {
    const user = new User({ NO_COLOR: "1" });
    let qemu: Qemu;
    let target: string[];

    beforeAll(async () => {
      qemu = await Qemu.start("-machine", machine, "-name", "bios");
      target = ["--pid", String(qemu.pid)];
      // The BIOS has found nothing to boot, and waits for a key or the end of its minute.
      await until(
        "the BIOS has unmasked the keyboard",
        async () => {
          const { pic1 } = parseInfoPic(await qemu.monitor("info pic"));
          return pic1.irq_base === 0x08 && (pic1.imr & 0x02) === 0;
        },
        30_000,
      );
    }, 60_000);
    afterAll(async () => {
      await qemu?.end();
      expect(user.dispose()).toEqual([]);
    });

    const explain = (gsi: number, ...options: string[]): Explanation =>
      JSON.parse(
        user.run([...target, "explain", String(gsi), "--json", ...(options.length > 0 ? options : KNOWN)])
          .stdout,
      );
    const wayOf = (explanation: Explanation, via: Way["via"]): Way =>
      explanation.ways.find((way) => way.via === via)!;
    const codes = (way: Way) => way.stages.map(({ code }) => code);

    describe("that is paused", () => {
      beforeAll(() => qemu.execute("stop"));
      afterAll(() => qemu.execute("cont"));

      it.each([0, 1, 4, 8])("says of GSI %i what QEMU's monitor shows", async (gsi) => {
        const pics = parseInfoPic(await qemu.monitor("info pic"));
        const lapic = parseInfoLapic(await qemu.monitor("info lapic"));
        const explanation = explain(gsi);

        const { chip, pin } = picPinOf(gsi);
        const masked = ((pics[chip].imr >> pin) & 1) === 1;
        const pic = wayOf(explanation, "pic");
        expect(codes(pic).includes("pic-masked")).toBe(masked);
        expect(pic.verdict === "blocked").toBe(masked);
        expect(pic.outcome.vector).toBe(pics[chip].irq_base + pin);
        expect(codes(pic)).toContain("lint0-open");
        expect(lapic["lvt_lint0"]! & 0x10700).toBe(0x700);

        const entry = pics.pins[gsi === 0 ? 2 : gsi]!;
        const ioapic = wayOf(explanation, "ioapic");
        expect(codes(ioapic).includes("ioapic-masked")).toBe(((entry >> 16n) & 1n) === 1n);
        expect(ioapic.outcome.vector).toBe(Number(entry & 0xffn));
        expect(codes(ioapic).includes("lapic-software-disabled")).toBe((lapic["svr"]! & 0x100) === 0);

        expect(explanation.sentence).toMatch(sentenceBy(pics, gsi));
      });

      it("has one of each kind among them, so that both answers were put to the test", () => {
        expect(explain(1).verdict).not.toBe("blocked");
        expect(explain(4).verdict).toBe("blocked");
      });

      it("takes QEMU's routing when it is told, and knows none by itself: GSI 0 raises IOAPIC pin 2", async () => {
        expect(explain(0).assumptions).toEqual([]);
        const unknown = explain(4, "--for", "10ms", "--via", "ptrace");
        expect(unknown.verdict).toBe("unknown");
        expect(unknown.assumptions).toEqual([expect.stringMatching(/^KVM's default routing; /)]);
        const evidence = wayOf(explain(0), "ioapic").stages.find(({ name }) => name === "line")!.evidence;
        expect(evidence).toBe("ioapic.irr bit 2 clear");
        user.ok([...target, "--yes", "hold", "0"]);
        try {
          expect(await qemu.monitor("info pic")).toMatch(/^ +IRR +2 *$/m);
          const stages = wayOf(explain(0), "ioapic").stages;
          expect(stages).toContainEqual(
            expect.objectContaining({
              code: "line-edge-latched",
              evidence: expect.stringContaining("ioapic.irr bit 2 set"),
            }),
          );
        } finally {
          user.ok([...target, "--yes", "release", "0"]);
        }
        expect(explain(2, "--routing", "default").ways).toHaveLength(2);
        expect(explain(2).ways).toEqual([]);
      });

      it.skipIf(noKernelMemory !== undefined)(
        "tells QEMU's routing by kernel memory, with nothing assumed (skipped where that can't be read)",
        () => {
          const [unrouted, timer] = [2, 0].map((gsi) => explain(gsi, "--via", "kernel"));
          expect(unrouted).toMatchObject({ ways: [], assumptions: [] });
          expect(timer).toMatchObject({ assumptions: [] });
          const evidence = wayOf(timer!, "ioapic").stages.find(({ name }) => name === "line")!.evidence;
          expect(evidence).toBe("ioapic.irr bit 2 clear");
        },
      );

      it("sees an interrupt that was raised wait in the PIC, as QEMU does", async () => {
        user.ok([...target, "--yes", "pulse", "4"]);
        const { pic1 } = parseInfoPic(await qemu.monitor("info pic"));
        expect(pic1.irr & 0x10).toBe(0x10);
        expect(codes(wayOf(explain(4), "pic"))).toContain("line-low-after-edge");
      });

      it("differs from its own snapshot in nothing, and after a write in just that", () => {
        const input = user.ok([...target, "dump", "--json"]);
        const diff = () => user.run(["diff", "-", `pid:${qemu.pid}`], { input }).stdout;
        expect(diff()).toBe("nothing differs\n");
        user.ok([...target, "--yes", "set", "ioapic.redirtbl[20].vector=0x44"]);
        expect(diff()).toBe("ioapic.redirtbl[20].vector: 0x00 -> 0x44\n");
        user.ok([...target, "--yes", "set", "ioapic.redirtbl[20].vector=0"]);
      });
    });

    it.each([0, 1, 4, 8])("says of GSI %i what QEMU's monitor shows while the guest runs", async (gsi) => {
      await until(`QEMU and the sentence on GSI ${gsi} agree on one moment`, async () => {
        const [text, { sentence }] = await qemu.beside("info pic", () => explain(gsi));
        return sentenceBy(parseInfoPic(text), gsi).test(sentence);
      });
    });

    it("watch says that by ptrace the routing is not known", async () => {
      const child = user.start([...target, "--via", "ptrace", "watch"]);
      let said = "";
      child.stderr!.on("data", (chunk) => {
        said += chunk;
      });
      await until("it says so", () => /^assumed: KVM's default routing; .*\nwatching pid/m.test(said));
      child.kill("SIGINT");
      expect((await finished(child)).status).toBe(130);
    });

    it("has no findings for a BIOS that is in order, in two readings, and leaves no thread held", () => {
      const { findings, gsis, watched } = user.json([...target, "explain", "--for", "200ms", ...KNOWN]);
      expect(findings).toEqual([]);
      expect(gsis.map(({ gsi }: Explanation) => gsi)).not.toContain(2);
      expect(watched.ms).toBe(200);
      expect(leftovers(qemu.pid)).toEqual([]);
    });
  },
);
