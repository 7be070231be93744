import { describe, expect, it } from "vitest";
import { haveKvm } from "../../../support/kvm.ts";

/** How many steps; `KVM_IRQ_DIFFERENTIAL_STEPS` asks for another number. */
const STEPS = Number(process.env["KVM_IRQ_DIFFERENTIAL_STEPS"] ?? 20_000);
/** With a guest, a step costs ten times as much. */
const GUEST_STEPS = STEPS / 10;
const LIMIT_MS = 300_000;

describe.skipIf(!haveKvm)("the model beside the real KVM (skipped without /dev/kvm)", () => {
  it(`agrees in every status and every byte over ${STEPS} random steps`, { timeout: LIMIT_MS }, async () => {
    const { differentialRun } = await import("../../../support/differential-run.ts");
    const result = differentialRun(STEPS);
    expect(result.failure, `seed ${result.seed}`).toBeUndefined();
    expect(result.steps).toBeGreaterThanOrEqual(STEPS);
  });

  it(`agrees over ${GUEST_STEPS} steps with a guest that takes and ends interrupts`, {
    timeout: LIMIT_MS,
  }, async () => {
    const { differentialRun } = await import("../../../support/differential-run.ts");
    const result = differentialRun(GUEST_STEPS, { guest: true });
    expect(result.failure, `seed ${result.seed}`).toBeUndefined();
  });
});
