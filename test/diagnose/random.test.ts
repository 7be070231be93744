import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { HOST_ARCH } from "../../src/abi/arch.ts";
import type { Machine } from "../../src/machine/machine.ts";
import { MACHINES } from "../support/machines.ts";
import { disagreements, snapshotOf, writeState } from "./prediction.ts";
import { type RandomState, randomState } from "./states.ts";

/** For each number of vCPUs; 5,000 in all. */
const STATES = 2_500;
const STATES_PER_VM = 500;
const GSIS = HOST_ARCH.gsis.count;

/**
 * Puts a machine into a state. All lines are low at first: what the PICs remember of levels (`last_irr`)
 * then comes from the lines that are held, as it does in a VM.
 */
function prepare(machine: Machine, state: RandomState): void {
  for (let gsi = 0; gsi < GSIS; gsi++) machine.setIrqLine(gsi, 0);
  const { chips } = snapshotOf(machine);
  writeState(machine, {
    pic1: { ...chips.pic1!, ...state.pics[0], last_irr: 0 },
    pic2: { ...chips.pic2!, ...state.pics[1], last_irr: 0 },
    ioapic: { ...chips.ioapic!, ...state.ioapic },
    lapic: state.lapics.map((change, vcpu) => ({ ...chips.lapic![vcpu]!, ...change })),
  });
  state.ioapic.redirtbl.forEach(({ trig_mode, mask }, pin) => {
    // KVM re-injects these on a write and then hides their IRR bit until the line goes low.
    if (trig_mode === "edge" && !mask) machine.setIrqLine(pin, 0);
  });
  for (const gsi of state.holds) {
    // A delivered edge whose line stays high shows only at a PIC's input: not from GSI 16 on, nor at the
    // cascade, whose level the slave overwrites.
    if (gsi < 16 && gsi !== 2) machine.setIrqLine(gsi, 1);
  }
}

describe.each(MACHINES)("$name", ({ make, skip }) => {
  describe.skipIf(skip)("explain on random states", () => {
    it.each([1, 3])(
      `predicts what a pulse does in ${STATES} states of a machine with %i vCPUs`,
      (vcpus) => {
        let machine: Machine | undefined;
        let states = 0;
        const property = fc.property(randomState(vcpus), (state) => {
          if (states++ % STATES_PER_VM === 0) {
            machine?.close();
            machine = make(vcpus);
          }
          prepare(machine!, state);
          expect(state.pulses.flatMap((gsi) => disagreements(machine!, gsi))).toEqual([]);
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
});
