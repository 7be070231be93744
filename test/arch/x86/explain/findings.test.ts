import { describe, expect, it } from "vitest";
import { FINDING_TABLES, findings } from "../../../../src/arch/x86/explain/findings.ts";
import { applyPreset, PRESETS, type PresetName } from "../../../../src/arch/x86/presets.ts";
import type { Snapshot } from "../../../../src/arch/x86/state.ts";
import type { VcpuState } from "../../../../src/arch/x86/vcpu/layout.ts";
import { MACHINES } from "../../../support/machines.ts";
import { resetChips, runningVcpu } from "../../../support/reset.ts";
import { snapshotOf } from "./prediction.ts";
import { type AllChips, snapshotFor } from "./scenario.ts";
import { SCENARIOS } from "./scenarios.ts";

const codes = (snapshot: Snapshot, previous?: Snapshot) =>
  findings(snapshot, previous).map(({ code }) => code);

function snapshotWith(change: (chips: AllChips) => void, guest = true): Snapshot {
  return snapshotFor({ name: "", gsi: 0, sentence: "", base: "pic", guest, change });
}

const inOrder = snapshotWith(() => {});

/** A level that is requested in one reading and gone in the next. */
const levelGone = (guest: boolean) => ({
  previous: snapshotWith(({ pic1 }) => {
    Object.assign(pic1, { elcr: 0x20, irr: 0x20, last_irr: 0x20 });
  }, guest),
  now: snapshotWith(({ pic1 }) => {
    pic1.elcr = 0x20;
  }, guest),
});

describe("pic-not-initialised", () => {
  const sentenceOf = (irr: number) =>
    findings(
      snapshotWith(({ pic1 }) => {
        Object.assign(pic1, { irq_base: 0, imr: 0, irr });
      }),
    ).find(({ code }) => code === "pic-not-initialised")?.sentence;

  it("counts the pins that wait", () => {
    expect(sentenceOf(0x10)).toBe(
      "pic1 was never given a vector base, and its pin 4 waits: it comes as vector 0x04, an exception's",
    );
    expect(sentenceOf(0x11)).toBe(
      "pic1 was never given a vector base, and its pins 0 and 4 wait: they come as vectors 0x00 and 0x04, which are exceptions'",
    );
  });
});

/** A halted vCPU with something to take, as a reader saw it. */
const halted = (kind: string, change: Partial<VcpuState> = {}): Snapshot => ({
  ...snapshotFor({
    name: "",
    gsi: 0,
    sentence: "",
    base: "ioapic",
    change: ({ lapic }) => {
      lapic[0]!.irr = [0x44];
    },
    states: [runningVcpu(0, { mp_state: "halted", ...change })],
  }),
  source: { kind },
});

describe("what the reader's own stop makes, or a pause,", () => {
  it.each(["process", "session", "scratch"])("is no halted-with-pending: of a %s", (kind) => {
    expect(codes(halted(kind), halted(kind))).toEqual([]);
  });

  const waiting = (change: Partial<VcpuState>, lint0 = 0x700) => ({
    ...snapshotWith(({ pic1, lapic }) => {
      Object.assign(pic1, { irq_base: lint0 === 0x700 ? 0 : 0x20, imr: 0, irr: 0x10 });
      lapic[0]!.lvt_lint0 = lint0;
    }),
    vcpus: [runningVcpu(0, change)],
  });
  const severities = (snapshot: Snapshot) => findings(snapshot).map(({ code, severity }) => [code, severity]);

  it.each([
    ["pic-not-initialised", 0x700],
    ["intr-goes-nowhere", 0x1_0000],
  ])("is no error: %s", (code, lint0) => {
    expect(severities(waiting({}, lint0))).toEqual([[code, "error"]]);
    // Firmware that has not turned interrupts on yet, and a VM that is paused or never ran.
    expect(severities(waiting({ rflags: 2 }, lint0))).toEqual([[code, "info"]]);
    expect(severities(waiting({ run: false }, lint0))).toEqual([[code, "info"]]);
  });

  it("is no exception that comes where LINT0, or the cascade, is masked", () => {
    const snapshot = waiting({}, 0x700);
    snapshot.chips.lapic![0]!.lvt_lint0 = 0x1_0000;
    expect(codes(snapshot)).toEqual(["intr-goes-nowhere"]);
    Object.assign(snapshot.chips.ioapic!.redirtbl[4]!, { vector: 0x34, mask: false });
    expect(codes(snapshot)).toEqual([]);
    const slave = waiting({});
    Object.assign(slave.chips.pic1!, { irr: 0, imr: 4 });
    Object.assign(slave.chips.pic2!, { irr: 0x10 });
    expect(codes(slave)).toEqual([]);
  });

  it("is no error of what firmware left in the PICs, once the guest uses an APIC", () => {
    const byIoapic = waiting({}, 0x1_0000);
    Object.assign(byIoapic.chips.ioapic!.redirtbl[11]!, { vector: 0x3b, mask: false });
    expect(severities(byIoapic)).toEqual([["intr-goes-nowhere", "info"]]);
    const byTimer = waiting({}, 0x1_0000);
    byTimer.chips.lapic![0]!.lvt_timer = 0x2_00ec;
    byTimer.chips.lapic![0]!.svr = 0x1ff;
    expect(severities(byTimer)).toEqual([["intr-goes-nowhere", "info"]]);
    // Linux masks the timer of a vCPU that is idle without a tick; Windows uses a paravirtual one.
    for (const lvt of [{ lvt_timer: 0x1_00ec }, { lvt_error: 0xe3 }]) {
      const idle = waiting({}, 0x1_0000);
      Object.assign(idle.chips.lapic![0]!, { svr: 0x1ff, ...lvt });
      expect(severities(idle)).toEqual([["intr-goes-nowhere", "info"]]);
    }
  });

  it.each(["edge", "level"] as const)(
    "is no warning of a masked %s pin of a guest that has MSIs alone",
    (trig_mode) => {
      const at = (svr: number, open: boolean) => ({
        ...snapshotWith(({ ioapic, pic1, lapic }) => {
          pic1.imr = 0xff;
          Object.assign(ioapic.redirtbl[10]!, { vector: 0x3a, trig_mode });
          Object.assign(ioapic.redirtbl[11]!, { vector: 0x3b, mask: !open });
          ioapic.irr = 1 << 10;
          for (const one of lapic) Object.assign(one, { svr, lvt_timer: 0x1_00ec });
        }),
        vcpus: [runningVcpu(0, {})],
      });
      const severity = (snapshot: Snapshot) => severities(snapshot).map(([, severity]) => severity);
      expect(severity(at(0x1ff, false))).toEqual(["info"]);
      expect(severity(at(0xff, false))).toEqual(["warning"]);
      expect(severity(at(0x1ff, true))).toEqual(["warning"]);
    },
  );

  it("is no warning of a spurious IRQ 15 while interrupts are off", () => {
    const withdrawn = (change: Partial<VcpuState>) => ({
      ...snapshotWith(({ pic1, pic2 }) => {
        pic1.irr = 4;
        pic2.imr = 0xff;
      }),
      vcpus: [runningVcpu(0, change)],
    });
    expect(severities(withdrawn({}))).toEqual([["spurious-irq15", "warning"]]);
    expect(severities(withdrawn({ rflags: 2 }))).toEqual([["spurious-irq15", "info"]]);
    expect(severities(withdrawn({ run: false }))).toEqual([["spurious-irq15", "info"]]);
  });

  it("is a request of the cascade's input, where the slave has withdrawn its own", () => {
    const withdrawn = waiting({}, 0x1_0000);
    Object.assign(withdrawn.chips.pic1!, { irr: 4 });
    expect(findings(withdrawn)).toMatchObject([
      {
        code: "intr-goes-nowhere",
        evidence: "pic1.irr bit 2 set, lapic[0].lvt_lint0 = 0x10000",
      },
    ]);
  });

  it("is no request that goes nowhere where the IOAPIC has the GSI", () => {
    const snapshot = waiting({}, 0x1_0000);
    Object.assign(snapshot.chips.ioapic!.redirtbl[4]!, { vector: 0x34, mask: false });
    expect(severities(snapshot)).toEqual([]);
  });

  it("is no line that waits at a pin that no guest has programmed", () => {
    const at = (vector: number, trig_mode: "edge" | "level", run: boolean) => ({
      ...snapshotWith(({ ioapic }) => {
        Object.assign(ioapic.redirtbl[10]!, { vector, trig_mode });
        ioapic.irr = 1 << 10;
      }),
      vcpus: [runningVcpu(0, { run })],
    });
    const routed = (snapshot: Snapshot) =>
      findings({
        ...snapshot,
        chips: { ...snapshot.chips, pic1: { ...snapshot.chips.pic1!, imr: 0xff } },
      }).map(({ code, severity }) => [code, severity]);
    for (const [mode, code] of [
      ["edge", "edge-lost"],
      ["level", "asserted-but-masked"],
    ] as const) {
      expect(routed(at(0, mode, true))).toEqual([]);
      expect(routed(at(0x3a, mode, true))).toEqual([[code, "warning"]]);
      expect(routed(at(0x3a, mode, false))).toEqual([[code, "info"]]);
    }
  });

  it("is nothing that stays in service", () => {
    const serving = (run: boolean) => ({
      ...snapshotWith(({ lapic, pic1 }) => {
        lapic[0]!.isr = [0x52];
        pic1.isr = 2;
      }),
      vcpus: [runningVcpu(0, { run })],
    });
    expect(codes(serving(true), serving(true))).toEqual(["in-service-too-long", "pic-in-service-too-long"]);
    expect(codes(serving(false), serving(false))).toEqual([]);
  });

  it("is no error of a local APIC that is off with its vCPU", () => {
    const off = (change: Partial<VcpuState>) => {
      const snapshot = halted("process", change);
      snapshot.chips.lapic![0]!.svr = 0xff;
      return severities(snapshot);
    };
    expect(off({})).toEqual([["apic-off-with-pending", "error"]]);
    expect(off({ rflags: 2 })).toEqual([["apic-off-with-pending", "info"]]);
    expect(off({ mp_state: "init_received" })).toEqual([["apic-off-with-pending", "info"]]);
    // A kexec: the old kernel has turned it off, and the new one is unpacked with interrupts off.
    expect(off({ mp_state: "runnable", rflags: 2 })).toEqual([["apic-off-with-pending", "info"]]);
  });

  it("double-delivery is no warning where it takes a routing that is not known", () => {
    const {
      report: _,
      findings: __,
      ...scenario
    } = SCENARIOS.find(({ findings: [code] = [] }) => code === "double-delivery")!;
    const found = (routing?: "default") =>
      findings(snapshotFor(scenario), undefined, { routing }).map(({ code, severity }) => [code, severity]);
    expect(found("default")).toEqual([["double-delivery", "warning"]]);
    expect(found()).toEqual([["double-delivery", "info"]]);
  });
});

/** Findings that take two readings. */
const TWO_READINGS: { code: string; previous: Snapshot; now: Snapshot; sentence: string }[] = [
  {
    code: "in-service-too-long",
    previous: snapshotWith(({ lapic }) => {
      lapic[0]!.isr = [0x41, 0x52];
    }),
    now: snapshotWith(({ lapic }) => {
      lapic[0]!.isr = [0x52, 0x61];
    }),
    sentence:
      "vector 0x52 is in service at vCPU 0 in two readings: its EOI is late (or it is in service again)",
  },
  {
    code: "pic-in-service-too-long",
    previous: snapshotWith(({ pic1 }) => {
      pic1.isr = 0x11;
    }),
    now: snapshotWith(({ pic1 }) => {
      pic1.isr = 0x10;
    }),
    sentence: "pic1 pin 4 is in service in two readings: its EOI is late (or it is in service again)",
  },
  {
    code: "halted-with-pending",
    previous: halted("other"),
    now: halted("other"),
    sentence:
      "vCPU 0 is halted with interrupts on while vector 0x44 is pending, in two readings: nobody woke it",
  },
  {
    code: "spurious-irq7",
    ...levelGone(false),
    sentence:
      "the level of pic1 pin 5 was served, or went down while it was requested: an 8259 answers an acknowledge in that moment with a spurious IRQ 7",
  },
];

describe("findings", () => {
  it.each(SCENARIOS)("$name", (scenario) => {
    const options = { routing: scenario.routing ?? ("default" as const) };
    const found = findings(snapshotFor(scenario), undefined, options).map(({ code }) => code);
    expect(found).toEqual(scenario.findings ?? []);
  });

  it.each(TWO_READINGS)("$code takes two readings", ({ code, previous, now, sentence }) => {
    expect(findings(now, previous).map((found) => [found.code, found.sentence])).toEqual([[code, sentence]]);
    expect(codes(now)).toEqual([]);
    expect(codes(inOrder, previous)).not.toContain(code === "spurious-irq7" ? "in-service-too-long" : code);
  });

  it("spurious-irq7 is not reported where a guest may have served the level", () => {
    const { previous, now } = levelGone(true);
    expect(codes(now, previous)).toEqual([]);
  });

  it.each([
    ["edge", "edge", "edges of pins that share one merge"],
    ["level", "level", "one EOI ends the remote IRR of all that share one"],
    ["edge", "level", "an edge that comes before the EOI of a level leaves the level's pin stuck"],
  ] as const)("shared-vector says what sharing costs an %s pin and a %s pin", (one, other, cost) => {
    const [found] = findings(
      snapshotWith(({ ioapic }) => {
        Object.assign(ioapic.redirtbl[20]!, { mask: false, vector: 0x44, trig_mode: one });
        Object.assign(ioapic.redirtbl[21]!, { mask: false, vector: 0x44, trig_mode: other });
      }),
    );
    expect(found).toMatchObject({
      code: "shared-vector",
      remedy: `give each pin a vector of its own; ${cost}`,
    });
  });

  it.each([
    [true, "warning", /pin 20 is masked and has an edge in IRR: KVM does not deliver it on unmasking$/],
    [false, "info", /raised again without a fall, or while the pin was masked$/],
  ] as const)("edge-lost of a pin whose mask is %s has severity %s", (mask, severity, sentence) => {
    const found = findings(
      snapshotWith(({ ioapic }) => {
        Object.assign(ioapic.redirtbl[20]!, { mask, vector: 0x44 });
        ioapic.irr = 1 << 20;
      }),
    );
    expect(found).toMatchObject([{ code: "edge-lost", severity, sentence: expect.stringMatching(sentence) }]);
  });

  it("puts the gravest first, each with a place in the documentation", () => {
    const found = findings(
      snapshotWith(({ ioapic }) => {
        Object.assign(ioapic.redirtbl[20]!, { mask: false, vector: 0x13 });
        Object.assign(ioapic.redirtbl[21]!, { mask: false, vector: 0x03 });
      }),
    );
    expect(found.map(({ code, severity, anchor }) => [code, severity, anchor])).toEqual([
      ["illegal-vector", "error", "docs/findings.md#illegal-vector"],
      ["exception-vector", "warning", "docs/findings.md#exception-vector"],
    ]);
  });

  it("are each met in a scenario", () => {
    const met = new Set([
      ...SCENARIOS.flatMap((scenario) => scenario.findings ?? []),
      ...TWO_READINGS.map(({ code }) => code),
    ]);
    expect(FINDING_TABLES.flatMap(({ codes }) => codes).filter((code) => !met.has(code))).toEqual([]);
  });
});

describe.each(MACHINES)("a machine of $name", ({ make, skip }) => {
  describe.skipIf(skip)("in order", () => {
    it.each(Object.keys(PRESETS) as PresetName[])("has no findings with the %s preset", (preset) => {
      const machine = make(2);
      try {
        applyPreset(machine, preset);
        expect(findings(snapshotOf(machine))).toEqual([]);
      } finally {
        machine.close();
      }
    });

    it("resets to what the scenarios start from", () => {
      const machine = make(2);
      try {
        expect(snapshotOf(machine).chips).toEqual(resetChips(2));
      } finally {
        machine.close();
      }
    });
  });
});
