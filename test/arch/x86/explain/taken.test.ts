import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { explainGsi } from "../../../../src/arch/x86/explain/explain.ts";
import { cpusOf, intrTarget, lint0, outranks } from "../../../../src/arch/x86/lapic/logic.ts";
import { acknowledge } from "../../../../src/arch/x86/pic/logic.ts";
import { applyPreset } from "../../../../src/arch/x86/presets.ts";
import type { Snapshot } from "../../../../src/arch/x86/state.ts";
import type { Machine } from "../../../../src/vm/machine.ts";
import { setLapic, setPic } from "../../../support/edit.ts";
import type { Cpu } from "../../../support/guest.ts";
import { RUNNING_MACHINES } from "../../../support/machines.ts";
import { snapshotOf } from "./prediction.ts";
import { prepare, type RandomState, randomState } from "./states.ts";

const STATES = 1_000;
const STATES_PER_VM = 100;

/** The vector that vCPU 0 takes next: the PICs' before the local APIC's. */
function nextVector({ chips }: Snapshot): number | undefined {
  const cpu = cpusOf({ chips })![0]!;
  const answer = acknowledge({ pic1: chips.pic1!, pic2: chips.pic2! });
  if (answer !== undefined && lint0(cpu) === "open") return answer.vector;
  return cpu.lapic.irr.findLast((vector) => outranks(cpu, vector));
}

/** Only vectors: an NMI, INIT or SIPI would change the vCPU itself. In service only where hosts keep it so. */
function vectorsOnly(state: RandomState, keepsService: boolean): RandomState {
  const redirtbl = state.ioapic.redirtbl.map((entry) => ({
    ...entry,
    delivery_mode: entry.delivery_mode === "lowest-priority" ? entry.delivery_mode : ("fixed" as const),
  }));
  const lapics = keepsService ? state.lapics : state.lapics.map((lapic) => ({ ...lapic, isr: [] }));
  return { ...state, ioapic: { ...state.ioapic, redirtbl }, lapics };
}

/** Raises a line, lets vCPU 0 take what it takes, and compares that with what was predicted. */
function takes(machine: Machine & Pick<Cpu, "acknowledge">, gsi: number): void {
  const { ways, sentence } = explainGsi(snapshotOf(machine), gsi, { guest: true });
  machine.setIrqLine(gsi, 1);
  const risen = snapshotOf(machine);
  const expected = nextVector(risen);
  const taken = machine.acknowledge();
  machine.setIrqLine(gsi, 0);
  expect(taken, sentence).toBe(expected);
  const target = intrTarget(cpusOf(risen)!)?.vcpu;
  for (const { via, outcome, verdict } of ways) {
    if (via === "pic" && outcome.arrives && target === 0) expect(taken, sentence).toBe(outcome.vector);
    if (via === "ioapic" && verdict === "open" && String(outcome.vcpus) === "0") {
      expect(taken, sentence).toBeDefined();
    }
  }
}

describe.each(RUNNING_MACHINES)("what holds an interrupt, on $name", ({ make, skip, keepsService }) => {
  const untilsOf = (machine: Machine, gsi: number) =>
    explainGsi(snapshotOf(machine), gsi, { guest: true }).ways.flatMap(({ stages }) =>
      stages.flatMap(({ until }) => until ?? []),
    );

  it.skipIf(skip)("is every pin that the PIC's until names", () => {
    const machine = make(1);
    try {
      applyPreset(machine, "pic");
      setPic(machine, "pic1", { isr: 3 });
      expect(untilsOf(machine, 4)).toContain("once pic1 pins 0 and 1 get their EOI");
      machine.setIrqLine(4, 1);
      const taken = [0, 1, 2].map(() => {
        const vector = machine.acknowledge();
        machine.eoiPic("pic1", { command: "non-specific" });
        return vector;
      });
      expect(taken).toEqual([undefined, undefined, 0x24]);
    } finally {
      machine.close();
    }
  });

  it.skipIf(skip)("is every vector that the local APIC's until names, and the TPR", ({ skip }) => {
    if (!keepsService()) skip("this host ends a local APIC's interrupt itself");
    const machine = make(1);
    try {
      applyPreset(machine, "ioapic");
      // The kernel looks at an ISR that is set only once another was set before.
      setLapic(machine, 0, { isr: [0x50, 0x80] });
      setLapic(machine, 0, { tpr: 0x30 });
      expect(untilsOf(machine, 4)).toContain(
        "once vectors 0x80 and 0x50 in service get their EOI and vCPU 0 lowers its TPR below 0x30",
      );
      machine.setIrqLine(4, 1);
      expect(machine.acknowledge()).toBeUndefined();
      machine.eoi();
      expect(machine.acknowledge()).toBeUndefined();
      machine.eoi();
      expect(machine.acknowledge()).toBeUndefined();
      setLapic(machine, 0, { tpr: 0x20 });
      expect(machine.acknowledge()).toBe(0x34);
    } finally {
      machine.close();
    }
  });
});

describe.each(RUNNING_MACHINES)("$name", ({ make, skip, keepsService }) => {
  it.skipIf(skip)(
    `takes the vector that explain names, in ${STATES} states`,
    () => {
      let machine: ReturnType<typeof make> | undefined;
      let states = 0;
      const keeps = keepsService();
      const anyState = randomState(2).map((state) => vectorsOnly(state, keeps));
      const property = fc.property(anyState, (state) => {
        if (states++ % STATES_PER_VM === 0) {
          machine?.close();
          machine = make(2);
        }
        prepare(machine!, state);
        for (const gsi of state.pulses) takes(machine!, gsi);
      });
      try {
        fc.assert(property, { numRuns: STATES });
      } finally {
        machine?.close();
      }
    },
    120_000,
  );
});
