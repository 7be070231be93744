import { describe, expect, it } from "vitest";
import { explainAll, explainGsi } from "../../../../src/arch/x86/explain/explain.ts";
import { applyPreset } from "../../../../src/arch/x86/presets.ts";
import { pinRoutesOf } from "../../../../src/arch/x86/routing.ts";
import type { Snapshot } from "../../../../src/arch/x86/state.ts";
import { decisive } from "../../../../src/rules/explanation.ts";
import { setIoapic } from "../../../support/edit.ts";
import { MACHINES } from "../../../support/machines.ts";
import { untrue } from "./evidence.ts";
import { disagreements, snapshotOf, writeState } from "./prediction.ts";
import { chipsOf, type Scenario, snapshotFor } from "./scenario.ts";
import { SCENARIOS } from "./scenarios.ts";

const optionsOf = ({ routing = "default" }: Scenario) => ({ routing });

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
    const { gsi } = scenario;
    expect(untrue(snapshotFor(scenario), optionsOf(scenario), [gsi])).toEqual([]);
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

  it.each([
    ["pic-behind-request", 4, { irr: 1 }, {}, "pic1.irr & ~pic1.imr = 0x01, pic1.priority_add = 0"],
    ["pic-cascade-lost", 9, { last_irr: 4 }, {}, "pic1.elcr = 0x00, pic1.last_irr = 0x04 (bit 2)"],
    ["pic-cascade-pin", 2, {}, {}, "pic2.irr = 0, pic2.irq_base + 7 = 0x2f"],
    ["pic-cascade-pin", 2, {}, { irr: 8, imr: 8 }, "pic2.irr = 0x08, pic2.irq_base + 7 = 0x2f"],
    ["pic-cascade-pin", 2, {}, { irr: 8 }, "pic2.irr = 0x08, pic2.irq_base + 3 = 0x2b"],
  ])("words evidence of %s as the state has it now: GSI %i, %o, %o", (code, gsi, pic1, pic2, evidence) => {
    const snapshot = snapshotFor({
      name: "",
      gsi,
      sentence: "",
      base: "pic",
      change(chips) {
        Object.assign(chips.pic1, pic1);
        Object.assign(chips.pic2, pic2);
      },
    });
    const { ways } = explainGsi(snapshot, gsi, { routing: "default" });
    const stage = ways.flatMap(({ stages }) => stages).find((one) => one.code === code);
    expect(stage?.evidence).toBe(evidence);
  });

  it("names the chip that the snapshot lacks, or the pin that the chip has not", () => {
    const { chips, ...rest } = snapshotFor(SCENARIOS[0]!);
    const evidence = (lacking: "pic2" | "ioapic" | undefined, pin: number) => {
      const { ways } = explainGsi(
        { ...rest, chips: { ...chips, ...(lacking && { [lacking]: undefined }) } },
        4,
        {
          routing: [
            { gsi: 4, chip: "pic1", pin: 4 },
            { gsi: 4, chip: "ioapic", pin },
          ],
        },
      );
      return ways
        .flatMap(({ stages }) => stages)
        .filter(({ code }) => code === "chip-missing")
        .map((one) => one.evidence);
    };
    expect(evidence("pic2", 4)).toEqual(["chips.pic2 is missing"]);
    expect(evidence("ioapic", 4)).toEqual(["chips.ioapic is missing"]);
    expect(evidence(undefined, 30)).toEqual(["ioapic.redirtbl[30] is missing"]);
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
      "KVM's default routing; KVM can't be asked what a VMM has made of it, and many send GSI 0 to IOAPIC pin 2 (name it with --routing)",
      "local APICs are on and in xAPIC mode; the snapshot has no vCPU state",
    ]);
    expect(explainGsi(snapshotFor(SCENARIOS[0]!), 4, { routing: "default" }).assumptions).toHaveLength(1);
  });

  describe("where the routing is not known", () => {
    const withPins = (...open: number[]) =>
      snapshotFor({
        name: "",
        gsi: 0,
        sentence: "",
        base: "ioapic",
        change: ({ ioapic }) => {
          for (const [n, entry] of ioapic.redirtbl.entries()) entry.mask = !open.includes(n);
        },
      });
    const of = (command: string, snapshot: Snapshot) => ({
      ...snapshot,
      source: { kind: "process", command },
    });

    it("says that a GSI is open only where it is so under each routing", () => {
      const { verdict, sentence, ways } = explainGsi(withPins(4), 4);
      expect({ verdict, sentence }).toEqual({
        verdict: "open",
        sentence: "GSI 4 would reach vCPU 0 as vector 0x34 through the IOAPIC",
      });
      expect(ways[0]!.stages[1]).toMatchObject({
        state: "unknown",
        code: "routing-unknown",
        text: "GSI 4 goes to pic1 pin 4 under the default routing; which one the VM has is not known",
      });
    });

    it("says of no GSI that it is blocked", () => {
      expect(explainGsi(withPins(), 4)).toMatchObject({
        verdict: "unknown",
        sentence:
          "GSI 4 can't be followed: where it goes is not known; under the default routing it is blocked: IOAPIC pin 4 is masked (redirtbl[4] bit 16); the PIC way is blocked too: IMR bit 4",
      });
      expect(explainGsi(withPins(), 24)).toMatchObject({
        verdict: "unknown",
        sentence:
          "GSI 24 can't be followed: where it goes is not known; the default routing takes it to no chip, and a VMM may have routed it to an MSI",
      });
      expect(explainAll(withPins()).map(({ verdict }) => verdict)).not.toContain("blocked");
    });

    it.each(["qemu-system-x86_64", "lkvm", "firecracker"])(
      "gives both answers for the timer's GSIs, and goes by no name of a program: %s",
      (command) => {
        const snapshot = of(command, withPins(0));
        expect(explainGsi(snapshot, 0)).toMatchObject({
          verdict: "unknown",
          sentence:
            "GSI 0 can't be followed: where it goes is not known; under the default routing it would reach vCPU 0 as vector 0x30 through the IOAPIC; under the qemu routing it is blocked: IOAPIC pin 2 is masked (redirtbl[2] bit 16); the PIC way is blocked too: IMR bit 0",
        });
        expect(explainGsi(snapshot, 0).ways.map(({ via, verdict }) => [via, verdict])).toEqual([
          ["pic", "blocked"],
          ["ioapic", "open"],
          ["ioapic", "blocked"],
        ]);
        expect(explainGsi(of(command, withPins(2)), 2).sentence).toBe(
          "GSI 2 can't be followed: where it goes is not known; under the default routing it would reach vCPU 0 as vector 0x32 through the IOAPIC; the qemu routing takes it to no chip",
        );
      },
    );

    it.each([
      ["default", 0, "open"],
      ["qemu", 0, "blocked"],
      ["qemu", 2, "blocked"],
      ["default", 24, "blocked"],
    ] as const)("is firm once it is told: under %s GSI %i is %s", (routing, gsi, verdict) => {
      expect(explainGsi(withPins(0), gsi, { routing }).verdict).toBe(verdict);
      expect(explainGsi({ ...withPins(0), routing: [...pinRoutesOf(routing)] }, gsi).verdict).toBe(verdict);
    });
  });

  it("says of a split irqchip that the GSIs are the VMM's own, and of its vCPUs what it knows", () => {
    const { chips, ...rest } = snapshotFor(SCENARIOS[0]!);
    const split: Snapshot = { ...rest, chips: { lapic: chips.lapic! }, irqchip: "split" };
    expect(explainGsi(split, 4)).toMatchObject({
      verdict: "unknown",
      sentence:
        "GSI 4 can't be followed: the PICs and the IOAPIC are emulated in the VMM's user space; the kernel has the local APICs (split irqchip)",
    });
    expect(explainAll(split)).toEqual([]);
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
      stages: [{ code: "routing-unknown" }, { code: "chip-missing" }],
    });
    expect(
      explainGsi({ ...whole, chips: { pic1: pic1!, pic2: pic2! } }, 4).ways[0]!.stages.at(-1),
    ).toMatchObject({
      code: "lint0-unknown",
    });
  });
});

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
