import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Machine } from "../../../../src/vm/machine.ts";
import { MACHINES } from "../../../support/machines.ts";
import { untrue } from "./evidence.ts";
import { disagreements, snapshotOf } from "./prediction.ts";
import { prepare, randomState } from "./states.ts";

/** For each number of vCPUs; 5,000 in all. */
const STATES = 2_500;
const STATES_PER_VM = 500;
describe.each(MACHINES)("$name", ({ make, skip }) => {
  describe.skipIf(skip)("explain on random states", () => {
    it.each([1, 3])(
      `predicts what a pulse does, and says what is true, in ${STATES} states of a machine with %i vCPUs`,
      (vcpus) => {
        let machine: Machine | undefined;
        let states = 0;
        const property = fc.property(randomState(vcpus), (state) => {
          if (states++ % STATES_PER_VM === 0) {
            machine?.close();
            machine = make(vcpus);
          }
          const forgotten = prepare(machine!, state);
          const before = snapshotOf(machine!);
          expect(untrue(before, {}, state.pulses, before)).toEqual([]);
          const found = state.pulses.flatMap((gsi) => disagreements(machine!, gsi, forgotten.includes(gsi)));
          expect(found).toEqual([]);
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
