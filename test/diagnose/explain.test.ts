import { describe, expect, it } from "vitest";
import { parsePath, resolvePath } from "../../src/abi/path.ts";
import type { Snapshot } from "../../src/abi/snapshot.ts";
import type { U64 } from "../../src/abi/u64.ts";
import { hasBit } from "../../src/diagnose/bits.ts";
import { explainAll, explainGsi } from "../../src/diagnose/explain.ts";
import { decisive } from "../../src/diagnose/explain-sentence.ts";
import { applyPreset } from "../../src/machine/presets.ts";
import { setIoapic } from "../support/edit.ts";
import { MACHINES } from "../support/machines.ts";
import { disagreements, snapshotOf, writeState } from "./prediction.ts";
import { chipsOf, type Scenario, snapshotFor } from "./scenario.ts";
import { SCENARIOS } from "./scenarios.ts";

const optionsOf = ({ routing }: Scenario) => (routing === undefined ? {} : { routing });

describe("explain", () => {
  it.each(SCENARIOS)("$name", (scenario) => {
    const { sentence } = explainGsi(snapshotFor(scenario), scenario.gsi, optionsOf(scenario));
    expect(sentence).toBe(scenario.sentence);
  });

  it.each(SCENARIOS)("names a stage for what stops it: $name", (scenario) => {
    const { ways } = explainGsi(snapshotFor(scenario), scenario.gsi, optionsOf(scenario));
    for (const way of ways) expect(decisive(way) === undefined).toBe(way.verdict === "open");
  });

  it.each(SCENARIOS)("gives evidence that is true: $name", (scenario) => {
    const snapshot = snapshotFor(scenario);
    const explanations = explainAll(snapshot, optionsOf(scenario));
    const texts = explanations
      .flatMap(({ ways }) => ways.flatMap((way) => way.stages))
      .map(({ evidence }) => evidence);
    expect(texts.flatMap((text) => untrue(snapshot, text))).toEqual([]);
  });

  it("does not send who initialises a PIC to the port of its mask before that is done", () => {
    const scenario = SCENARIOS[0]!;
    const snapshot = snapshotFor(scenario);
    const remedy = (init_state: number) => {
      const pic1 = { ...snapshot.chips.pic1!, imr: 0x10, init_state };
      const { ways } = explainGsi({ ...snapshot, chips: { ...snapshot.chips, pic1 } }, 4);
      return ways.flatMap(({ stages }) => stages).find(({ code }) => code === "pic-masked")?.remedy;
    };
    expect(remedy(0)).toBe("clear pic1.imr bit 4: write 0x00 to port 0x21");
    expect(remedy(3)).toBe(
      "pic1 waits for ICW4 (pic1.init_state = 3): write the rest of ICW1 to ICW4 first, then clear pic1.imr bit 4: write 0x00 to port 0x21",
    );
  });

  it("follows the stages in the order of the way", () => {
    const { ways } = explainGsi(snapshotFor(SCENARIOS[0]!), 4);
    expect(ways.map(({ stages }) => stages.map(({ name }) => name))).toEqual([
      ["line", "routing", "pic", "local apic", "vcpu"],
      ["line", "routing", "ioapic", "local apic", "vcpu"],
    ]);
  });

  it("has every GSI of the routing, in order", () => {
    const snapshot = snapshotFor(SCENARIOS[0]!);
    expect(explainAll(snapshot).map(({ gsi }) => gsi)).toEqual(Array.from({ length: 24 }, (_, n) => n));
    expect(explainAll(snapshot, { routing: "qemu" }).some(({ gsi }) => gsi === 2)).toBe(false);
  });

  it("says what it takes for granted", () => {
    const { assumptions } = explainGsi(snapshotFor(SCENARIOS[0]!), 4);
    expect(assumptions).toEqual([
      "KVM's default routing; KVM can't be asked what a VMM has made of it",
      "local APICs are on and in xAPIC mode; the snapshot has no vCPU state",
    ]);
    expect(explainGsi(snapshotFor(SCENARIOS[0]!), 4, { routing: "default" }).assumptions).toHaveLength(1);
  });

  it("takes QEMU's routing for a VM of QEMU, unless it is told another", () => {
    const of = (command: string, kind = "process") => ({
      ...snapshotFor(SCENARIOS[0]!),
      source: { kind, command },
    });
    const pinOf = (snapshot: Snapshot, routing?: "default") =>
      explainGsi(snapshot, 0, { routing }).ways.find(({ via }) => via === "ioapic")!.stages[1]!.text;
    expect(pinOf(of("qemu-system-x86_64"))).toBe("GSI 0 goes to IOAPIC pin 2");
    expect(pinOf(of("qemu-kvm"))).toBe("GSI 0 goes to IOAPIC pin 2");
    expect(explainGsi(of("qemu-kvm"), 0).assumptions[0]).toMatch(/^QEMU's routing/);
    expect(pinOf(of("qemu-system-x86_64"), "default")).toBe("GSI 0 goes to IOAPIC pin 0");
    expect(pinOf({ ...of("qemu-system-x86_64"), routing: "default" })).toBe("GSI 0 goes to IOAPIC pin 0");
    expect(pinOf(of("firecracker"))).toBe("GSI 0 goes to IOAPIC pin 0");
    expect(pinOf(of("qemu-nbd"))).toBe("GSI 0 goes to IOAPIC pin 0");
  });

  it("can't follow a way past a chip that the snapshot lacks", () => {
    const whole = snapshotFor(SCENARIOS.find(({ base }) => base === "ioapic")!);
    const { ioapic, pic1, pic2 } = whole.chips;
    const without = (chips: typeof whole.chips) => explainGsi({ ...whole, chips }, 20);
    expect(without({ ioapic: ioapic! }).sentence).toBe(
      "GSI 20 can't be followed: there are no local APICs in the snapshot, so that its destination is not known",
    );
    expect(without({ pic1: pic1!, pic2: pic2! }).sentence).toBe(
      "GSI 20 can't be followed: the snapshot lacks the IOAPIC, or its pin 20",
    );
    expect(explainGsi({ ...whole, chips: { ioapic: ioapic! } }, 4).ways[0]).toMatchObject({
      verdict: "unknown",
      stages: [{ code: "routed" }, { code: "chip-missing" }],
    });
    expect(
      explainGsi({ ...whole, chips: { pic1: pic1!, pic2: pic2! } }, 4).ways[0]!.stages.at(-1),
    ).toMatchObject({
      code: "lint0-unknown",
    });
  });
});

/** The claims of an evidence about single fields (`pic1.imr bit 4 set`, `lapic[0].svr = 0xff`) that don't hold. */
function untrue({ chips, vcpus }: Snapshot, evidence: string): string[] {
  const fieldAt = (path: string) => resolvePath({ ...chips, vcpus }, parsePath(path))[0]!.value;
  const bits = [...evidence.matchAll(/(?<!& ~)\b([a-z]\S*\.\w+) bit (\d+) (set|clear)/g)];
  const values = [...evidence.matchAll(/(?<!& ~\S*)\b([a-z]\S*\.\w+)( >> 24)? = ([\w-]+)/g)];
  return [
    ...bits.filter(([, path, bit, word]) => hasBit(fieldAt(path!) as U64, Number(bit)) !== (word === "set")),
    ...values.filter(([, path, shifted, value]) => {
      const field = fieldAt(path!);
      if (typeof field !== "number") return String(field) !== value;
      return (shifted ? field >>> 24 : field) !== Number(value);
    }),
  ].map(([claim]) => claim);
}

/** What ioctls on a scratch VM can set up. */
const SETTABLE = SCENARIOS.filter(({ states }) => states === undefined);

describe.each(MACHINES)("explain on a machine of $name", ({ make, skip }) => {
  describe.skipIf(skip)("with each scenario set up", () => {
    it.each(SETTABLE)("$name", (scenario) => {
      const machine = make(scenario.vcpus ?? 1);
      try {
        writeState(machine, chipsOf(scenario));
        if (typeof scenario.routing === "object") machine.setRouting(scenario.routing);
        for (const gsi of scenario.holds ?? []) machine.setIrqLine(gsi, 1);
        const options = { ...optionsOf(scenario), guest: scenario.guest ?? true };
        expect(explainGsi(snapshotOf(machine), scenario.gsi, options).sentence).toBe(scenario.sentence);
        if (scenario.routing !== "qemu") expect(disagreements(machine, scenario.gsi)).toEqual([]);
      } finally {
        machine.close();
      }
    });

    it("a level that is repeated once the IOAPIC was set is an edge, as the sentence warns", () => {
      const machine = make(1);
      try {
        applyPreset(machine, "ioapic");
        expect([1, 1].map(() => machine.setIrqLine(5, 1))).toEqual([1, 0]);
        machine.setIrqLine(5, 0);
        expect(machine.setIrqLine(5, 1)).toBe(1);
        setIoapic(machine, {});
        expect(explainGsi(snapshotOf(machine), 5).sentence).toMatch(
          /^GSI 5 is blocked: .* its edge was taken \(unless KVM_SET_IRQCHIP set the IOAPIC since\); /,
        );
        expect(machine.setIrqLine(5, 1)).toBe(1);
      } finally {
        machine.close();
      }
    });
  });
});
