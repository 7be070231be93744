import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { chainsOf } from "../../../../src/arch/x86/lives/chains.ts";
import { beginOf, STEPS } from "../../../../src/lives/chain.ts";
import { statisticsOf } from "../../../../src/lives/statistics.ts";
import type { TraceEvent } from "../../../../src/tracefs/event.ts";
import { eventsOf, SVM } from "../../../support/recorded-trace.ts";
import {
  accept,
  ack,
  down,
  entry,
  eoi,
  inject,
  ioapic,
  msi,
  pic,
  posted,
  trace,
  up,
  VCPU,
} from "../../../support/trace-events.ts";

/** The steps of a chain in the order of time. */
const order = (steps: Record<string, number>) =>
  Object.entries(steps)
    .sort(([, one], [, other]) => one - other)
    .map(([step]) => step);

describe("on a real kernel", () => {
  test("a level interrupt through the IOAPIC goes through all six steps", () => {
    const chains = chainsOf(eventsOf("ioapic-level"));
    const [first] = chains;
    expect(first).toMatchObject({ gsi: 10, vector: 58, apic: 0, route: "ioapic", trigger: "level" });
    expect(first).toMatchObject({ outcome: "complete", stopped: null, again: false });
    expect(order(first!.steps)).toEqual(STEPS.filter((step) => step !== "posted"));
  });

  test("a level line that stays up is delivered again after each EOI, until it goes down", () => {
    const again = chainsOf(eventsOf("ioapic-level")).slice(1);
    expect(again.length).toBeGreaterThan(0);
    const lowered = new Set(again.map(({ steps }) => steps.lowered));
    expect(lowered.size).toBe(1);
    for (const chain of again) {
      expect(chain).toMatchObject({ gsi: 10, vector: 58, again: true, outcome: "complete" });
      expect(chain.steps.raised).toBeUndefined();
    }
  });

  test("an edge through the IOAPIC ends with the EOI, however early its thread is overtaken", () => {
    expect(chainsOf(eventsOf("ioapic-edge"))).toMatchObject([
      { gsi: 4, vector: 52, route: "ioapic", trigger: "edge", outcome: "complete" },
      { gsi: 4, vector: 52, route: "ioapic", trigger: "edge", outcome: "complete" },
    ]);
  });

  test("an edge through the PIC ends with the PIC's acknowledge, and the injection tells its vector", () => {
    const chains = chainsOf(eventsOf("pic-edge"));
    expect(chains).toMatchObject([
      { gsi: 4, vector: 0x24, route: "pic", outcome: "complete" },
      { gsi: 4, vector: 0x24, route: "pic", outcome: "complete" },
    ]);
    expect(order(chains[1]!.steps)).toEqual(["raised", "accepted", "lowered", "injected", "acknowledged"]);
  });

  test("an MSI has no line", () => {
    const [chain, ...others] = chainsOf(eventsOf("msi"));
    expect(others).toEqual([]);
    expect(chain).toMatchObject({ gsi: null, vector: 96, route: "msi", outcome: "complete" });
    expect(order(chain!.steps)).toEqual(["raised", "accepted", "injected", "eoi"]);
  });

  test("a level interrupt whose handler forgets the EOI is unfinished", () => {
    expect(chainsOf(eventsOf("ioapic-level-without-eoi"))).toMatchObject([
      {
        gsi: 10,
        outcome: "unfinished",
        stopped: { at: "injected", why: "the guest has not ended it: no EOI" },
      },
    ]);
  });

  test("a pulse that both chips mask stops at the chips", () => {
    expect(chainsOf(eventsOf("masked"))).toMatchObject([
      {
        gsi: 10,
        route: "none",
        outcome: "unfinished",
        stopped: { at: "raised", why: "masked in the IOAPIC; masked in the PIC" },
      },
    ]);
  });

  test("a slave's interrupt that the handler ends only at the master is unfinished", () => {
    expect(chainsOf(eventsOf("pic-level"))).toMatchObject([
      { gsi: 10, vector: 0x2a, route: "pic", outcome: "unfinished", stopped: { at: "injected" } },
    ]);
  });
});

describe("a rise of a line", () => {
  test("that no chip is routed to says so", () => {
    expect(chainsOf(trace(up(30), down(30)))).toMatchObject([
      { gsi: 30, stopped: { at: "raised", why: "no chip is routed to this GSI" } },
    ]);
  });

  test("that both chips accept is two interrupts", () => {
    const events = trace(up(4), accept(52), ioapic(4, entry(52)), pic(4), down(4));
    expect(chainsOf(events).map(({ route }) => route)).toEqual(["ioapic", "pic"]);
  });

  test("reaches several local APICs as several interrupts", () => {
    const events = trace(
      up(4),
      accept(52, { apicid: 0 }),
      accept(52, { apicid: 1 }),
      ioapic(4, entry(52)),
      pic(4, { imr: 0xff }),
      inject(52),
      eoi(52, 1),
    );
    expect(chainsOf(events).map(({ apic }) => apic)).toEqual([0, 1]);
  });

  test("that the IOAPIC calls coalesced, and offers to no local APIC, is coalesced", () => {
    const events = trace(
      up(20),
      accept(52),
      ioapic(20, entry(52)),
      down(20),
      up(20),
      ioapic(20, entry(52), true),
    );
    const why = "pending in the IOAPIC already, or no local APIC at the destination";
    expect(chainsOf(events)[1]).toMatchObject({ outcome: "coalesced", stopped: { at: "raised", why } });
  });

  test("that is accepted while one is pending is coalesced, unless its vector ends once more", () => {
    const merged = [
      up(4),
      accept(52),
      ioapic(4, entry(52)),
      down(4),
      up(4),
      accept(52),
      ioapic(4, entry(52)),
    ];
    expect(chainsOf(trace(...merged, eoi(52)))).toMatchObject([
      { outcome: "complete" },
      { outcome: "coalesced", stopped: { at: "accepted", why: "pending in the local APIC already" } },
    ]);
    expect(chainsOf(trace(...merged, eoi(52), eoi(52)))).toMatchObject([
      { outcome: "complete", stopped: null },
      { outcome: "complete", stopped: null },
    ]);
    const later = [...merged, eoi(52), down(4), up(4), accept(52), ioapic(4, entry(52)), eoi(52)];
    const outcomes = (...events: Parameters<typeof trace>) =>
      chainsOf(trace(...events)).map(({ outcome }) => outcome);
    expect(outcomes(...later)).toEqual(["complete", "coalesced", "complete"]);
    expect(outcomes(...later, eoi(52))).toEqual(["complete", "complete", "complete"]);
  });

  test("that a chip has taken is not what sends the next MSI", () => {
    const chip = [up(4), pic(4, { imr: 0xff })] as const;
    for (const held of [chip, [up(20), accept(68), ioapic(20, entry(68))]] as const) {
      const events = trace(...held, msi(0x77), accept(0x77));
      expect(chainsOf(events)[1]).toMatchObject({ gsi: null, vector: 0x77, route: "msi" });
    }
    expect(chainsOf(trace(up(30), msi(0x77), accept(0x77)))).toMatchObject([{ gsi: 30, route: "msi" }]);
  });

  test("while the line is up already is no new interrupt of a PIC", () => {
    expect(chainsOf(trace(up(4), pic(4), up(4), pic(4)))).toHaveLength(1);
  });

  test("is not mixed up with the interrupt of a timer that hits the thread meanwhile", () => {
    const events = trace(
      up(20),
      [...accept(0xec), { context: "softirq" }] as [string, TraceEvent["args"], Partial<TraceEvent>],
      accept(52),
      ioapic(20, entry(52)),
    );
    expect(chainsOf(events)).toMatchObject([
      { route: "local", vector: 0xec, gsi: null },
      { route: "ioapic", vector: 52, gsi: 20 },
    ]);
  });

  test("does not claim a vector that the IOAPIC's entry does not have", () => {
    const events = trace(up(20), accept(99), ioapic(20, entry(52, { mask: true })));
    expect(chainsOf(events)).toMatchObject([
      { route: "local", vector: 99, gsi: null, steps: { accepted: 1000 } },
      { route: "none", gsi: 20, stopped: { why: "masked in the IOAPIC" } },
    ]);
  });

  test("answered once is over: a restored IOAPIC speaks for every pending pin", () => {
    const events = trace(up(20), ioapic(20, entry(52, { mask: true })), accept(60), ioapic(21, entry(60)));
    expect(chainsOf(events)).toMatchObject([
      { gsi: 20, route: "none" },
      { vector: 60, route: "local" },
    ]);
  });
});

describe("an injection", () => {
  test("that KVM repeats because it was interrupted counts once", () => {
    const events = trace(up(4), pic(4), inject(0x24), inject(0x24, true), ack(0, 4));
    expect(chainsOf(events)).toMatchObject([{ outcome: "complete", steps: { injected: 2000 } }]);
  });

  test("is told apart between two VMs with the same vector", () => {
    const other = { process: 200, pid: 201 };
    const events = trace(
      ["kvm_eoi", { apicid: 0, vector: -1 }, VCPU],
      ["kvm_eoi", { apicid: 0, vector: -1 }, { ...other, pid: 202 }],
      [...up(20), other] as never,
      [...accept(52), other] as never,
      [...ioapic(20, entry(52)), other] as never,
      up(20),
      accept(52),
      ioapic(20, entry(52)),
      inject(52),
      eoi(52),
    );
    expect(chainsOf(events)).toMatchObject([
      { process: 200, outcome: "unfinished" },
      { process: 100, outcome: "complete" },
    ]);
  });

  test("may end what a process without vCPUs of its own raised", () => {
    const device = { process: 300, pid: 300 };
    const events = trace(
      ["kvm_msi_set_irq", { address: 0xfee00000, data: 96 }, device],
      [...accept(96), device] as never,
      inject(96),
      eoi(96),
    );
    expect(chainsOf(events)).toMatchObject([{ process: 100, route: "msi", outcome: "complete" }]);
  });

  test("of a PIC's vector goes to the chip that has shown that base", () => {
    const both = [pic(3), pic(11)] as const;
    const events = trace(
      ...[up(11), both[1], inject(0x2b), ack(1, 11), down(11)],
      ...[up(3), both[0], up(11), both[1], inject(0x2b), ack(1, 11)],
    );
    expect(chainsOf(events).map(({ gsi, outcome }) => [gsi, outcome])).toEqual([
      [11, "complete"],
      [3, "unfinished"],
      [11, "complete"],
    ]);
  });

  test("without anything before it begins a chain, and a PIC's acknowledge tells its line", () => {
    expect(chainsOf(trace(inject(0x24), ack(0, 4)))).toMatchObject([
      { gsi: 4, vector: 0x24, route: "pic", outcome: "complete" },
    ]);
  });
});

describe("an end of interrupt", () => {
  test("with nothing in service is nobody's", () => {
    expect(chainsOf(trace(eoi(-1)))).toEqual([]);
  });

  test("completes a chain on hosts whose KVM does not tell of injections", () => {
    const events = trace(up(20), accept(52), ioapic(20, entry(52)), down(20), eoi(52));
    expect(chainsOf(events)).toMatchObject([{ outcome: "complete", steps: { eoi: 4000 } }]);
  });

  test("of a PIC's level line that is still up presents it again", () => {
    const level = { elcr: 0xff };
    const events = trace(up(5), pic(5, level), inject(0x25), ack(0, 5), inject(0x25), ack(0, 5), down(5));
    expect(chainsOf(events)).toMatchObject([
      { again: false, outcome: "complete" },
      { again: true, outcome: "complete", gsi: 5 },
    ]);
  });
});

describe("an interrupt handed to a CPU that runs the APIC by itself", () => {
  const edge = [up(4), accept(52), posted(52), ioapic(4, entry(52)), down(4)] as const;
  const level = [
    up(20),
    accept(68, { tm: 1 }),
    posted(68, { tm: 1 }),
    ioapic(20, entry(68, { level: true })),
  ] as const;

  test("is posted, as an edge: the rest can't be seen", () => {
    const [chain] = chainsOf(trace(...edge));
    expect(chain).toMatchObject({ outcome: "posted", stopped: { at: "posted" }, gsi: 4, route: "ioapic" });
    expect(chain!.stopped!.why).toContain("APICv");
    expect(order(chain!.steps)).toEqual(["raised", "accepted", "posted", "lowered"]);
  });

  test("is not waited for by the next of its vector", () => {
    expect(chainsOf(trace(...edge, ...edge, ...edge)).map(({ outcome }) => outcome)).toEqual(
      Array(3).fill("posted"),
    );
  });

  test("is complete where the CPU tells of the edge's EOI, and the last one is meant", () => {
    expect(chainsOf(trace(...edge, ...edge, eoi(52))).map(({ outcome }) => outcome)).toEqual([
      "posted",
      "complete",
    ]);
  });

  test("is complete as a level, whose EOI it always tells", () => {
    const [chain] = chainsOf(trace(...level, eoi(68), ack(2, 20), down(20)));
    expect(chain).toMatchObject({ outcome: "complete", stopped: null });
    const told = STEPS.filter((step) => step !== "injected");
    expect(order(chain!.steps)).toEqual(told);
  });

  test("is unfinished as a level without an EOI", () => {
    const [chain] = chainsOf(trace(...level));
    expect(chain).toMatchObject({ outcome: "unfinished", stopped: { at: "posted" } });
    expect(chain!.stopped!.why).toContain("no EOI");
  });
});

describe("a local APIC that is software-disabled", () => {
  const DISABLED = "refused: the local APIC is software-disabled";
  const refused = { route: "ioapic", outcome: "unfinished", stopped: { at: "accepted", why: DISABLED } };
  const into = (coalesced: boolean, ...apics: number[]) => [
    up(4),
    ...apics.map((apicid) => accept(52, { apicid })),
    ioapic(4, entry(52), coalesced),
    down(4),
  ];
  const whys = (...events: Parameters<typeof trace>) =>
    chainsOf(trace(...events)).map(({ stopped }) => stopped!.why);

  test("has refused what the IOAPIC then calls coalesced", () => {
    expect(chainsOf(trace(...into(true, 0)))).toMatchObject([refused]);
    expect(chainsOf(trace(...into(true, 0, 1)))).toMatchObject([refused, refused]);
    expect(chainsOf(trace(...into(true, 0), ...into(true, 0)))).toMatchObject([refused, refused]);
  });

  test("is out of the question for what the IOAPIC has delivered to it alone", () => {
    expect(whys(...into(false, 0))).toEqual(["pending in the local APIC, not injected"]);
  });

  test("may be the reason where nothing tells: of an MSI, an IPI, one of several destinations", () => {
    const may = "pending in the local APIC, not injected, or dropped: the local APIC is software-disabled";
    expect(whys(msi(0x41), accept(0x41))).toEqual([may]);
    expect(whys(accept(0x41))).toEqual([may]);
    expect(whys(...into(false, 0, 1))).toEqual([may, may]);
  });
});

describe("what has no vector", () => {
  const dm = { smi: 0x200, "reserved-3": 0x300, nmi: 0x400, init: 0x500, sipi: 0x600, extint: 0x700 };
  const taken = ["smi", "nmi", "init", "sipi"] as const;
  const nothing = ["reserved-3", "extint"] as const;
  const ofPin = (mode: keyof typeof dm, coalesced = false) =>
    trace(up(4), accept(52, { dm: dm[mode] }), ioapic(4, entry(52) + dm[mode], coalesced), down(4));
  const ofMsi = (mode: keyof typeof dm) =>
    trace(msi(0x61, { mode: dm[mode] >> 8 }), accept(0x61, { dm: dm[mode] }));

  test.each(taken)("is complete as an %s once a local APIC has it", (mode) => {
    const steps = { raised: 0, accepted: 1000 };
    const known = { vector: null, delivery_mode: mode, outcome: "complete", stopped: null, steps };
    expect(chainsOf(ofPin(mode))).toMatchObject([{ ...known, route: "ioapic", gsi: 4 }]);
    expect(chainsOf(ofMsi(mode))).toMatchObject([{ ...known, route: "msi", gsi: null }]);
  });

  test.each(nothing)("comes to nothing as %s", (mode) => {
    const why = `no interrupt comes of delivery mode ${mode}`;
    const known = { delivery_mode: mode, outcome: "unfinished", stopped: { at: "accepted", why } };
    expect(chainsOf(ofPin(mode))).toMatchObject([known]);
    expect(chainsOf(ofMsi(mode))).toMatchObject([known]);
  });

  test("is unfinished where KVM took none, as without SMM an SMI", () => {
    const why = "refused by the local APIC";
    expect(chainsOf(ofPin("smi", true))).toMatchObject([{ outcome: "unfinished", stopped: { why } }]);
  });

  test("names its delivery mode where no local APIC is offered it", () => {
    const [nobody] = chainsOf(trace(msi(0x61, { dest: 5, mode: 4 })));
    expect(nobody).toMatchObject({ route: "none", vector: null, delivery_mode: "nmi" });
  });

  test("is no line's when the IOAPIC does not speak of it, and is nobody's alone", () => {
    expect(chainsOf(trace(up(30), accept(0, { dm: dm.nmi }), down(30)))).toMatchObject([
      { route: "none", gsi: 30 },
    ]);
    expect(chainsOf(trace(accept(0, { dm: dm.nmi })))).toEqual([]);
  });

  test("is not what a vector in the IRR merges with", () => {
    const chains = chainsOf(
      trace(msi(0x61), accept(0x61), msi(0x61, { mode: 4 }), accept(0x61, { dm: dm.nmi })),
    );
    expect(chains).toMatchObject([{ outcome: "unfinished" }, { outcome: "complete" }]);
  });

  test("is counted apart from what has another delivery mode", () => {
    const counted = statisticsOf(chainsOf([...ofMsi("nmi"), ...ofMsi("init"), ...ofMsi("nmi")]));
    expect(counted.map(({ delivery_mode, complete }) => [delivery_mode, complete])).toEqual([
      ["nmi", 2],
      ["init", 1],
    ]);
  });
});

test("joining takes any events in any order: every step is one event's time, and none is used twice", () => {
  const recorded = Object.keys(SVM.runs).flatMap(eventsOf);
  fc.assert(
    fc.property(fc.shuffledSubarray(recorded), fc.infiniteStream(fc.nat(500)), (picked, gaps) => {
      let time = 0;
      const events = picked.map((event) => {
        time += 1 + gaps.next().value!;
        return { ...event, time };
      });
      const known = new Set(events.map((event) => event.time));
      const used = new Set<string>();
      for (const chain of chainsOf(events)) {
        expect(chain.stopped === null).toBe(chain.outcome === "complete");
        expect(known).toContain(beginOf(chain));
        for (const [step, at] of Object.entries(chain.steps)) {
          expect(known).toContain(at);
          if (step === "raised" || step === "lowered" || step === "acknowledged") continue;
          if (step === "accepted" && chain.again) continue;
          expect(used).not.toContain(`${step} ${at}`);
          used.add(`${step} ${at}`);
        }
      }
    }),
    { numRuns: 200 },
  );
});
