import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { BusyVmm, haveBusyVmm } from "../../support/attach.ts";
import { attachOften, killOften } from "../../support/attach-safety.ts";

/** The short form of scripts/attach-safety.js. */
describe.skipIf(!haveBusyVmm)("a busy VMM is unharmed (needs /dev/kvm, root and a C compiler)", () => {
  let vmm: BusyVmm;
  beforeEach(async () => {
    vmm = await BusyVmm.start();
  });
  afterEach(() => vmm.end());

  it("by being attached to again and again", async () => {
    expect((await attachOften(vmm, 60)).problems).toEqual([]);
  }, 60_000);

  it("by SIGINT, SIGTERM and SIGKILL to the program that attaches", async () => {
    expect((await killOften(vmm, 12, ["SIGINT", "SIGTERM", "SIGKILL"])).problems).toEqual([]);
  }, 120_000);
});
