import { describe, expect, it } from "vitest";
import type { Snapshot } from "../../src/arch/x86/state.ts";
import { takeReading } from "../../src/operations/look-again.ts";
import { type AllChips, snapshotFor } from "../arch/x86/explain/scenario.ts";
import { runningVcpu } from "../support/reset.ts";

const seen = (change: (chips: AllChips) => void = () => {}, run = true): Snapshot => ({
  ...snapshotFor({ name: "", gsi: 0, sentence: "", base: "ioapic", change }),
  vcpus: [runningVcpu(0, { run })],
});
/** A level pin whose EOI came between the reading of the IOAPIC and that of the local APIC. */
const eoiOnItsWay = (pin: number, run = true) =>
  seen(({ ioapic }) => {
    ioapic.redirtbl[pin]!.remote_irr = true;
  }, run);

/** Readings that come one after the other, the last one again and again. */
function looking(...snapshots: Snapshot[]) {
  let n = 0;
  return async () => snapshots[Math.min(n++, snapshots.length - 1)]!;
}

const codes = ({ observation }: Awaited<ReturnType<typeof takeReading>>) =>
  observation.findings.map(({ code }) => code);

describe("a reading of a VM that runs", () => {
  it("takes one look where nothing is wrong", async () => {
    expect((await takeReading(looking(seen()), {})).looks).toBe(1);
  });

  it("leaves out what is over a moment later", async () => {
    const reading = await takeReading(looking(eoiOnItsWay(20), seen()), {});
    expect([codes(reading), reading.looks]).toEqual([[], 2]);
  });

  it("leaves out what is of one pin and then of another", async () => {
    const pins = [20, 21, 20, 21].map((pin) => eoiOnItsWay(pin));
    expect(codes(await takeReading(looking(...pins), {}))).toEqual([]);
  });

  it("keeps what is there in each look", async () => {
    const reading = await takeReading(looking(eoiOnItsWay(20)), {});
    expect([codes(reading), reading.looks]).toEqual([["remote-irr-stuck"], 6]);
  });

  it("believes a finding that the reading before had at once", async () => {
    const { observation } = await takeReading(looking(eoiOnItsWay(20)), {});
    const next = await takeReading(looking(eoiOnItsWay(20)), { previous: observation });
    expect([codes(next), next.looks]).toEqual([["remote-irr-stuck"], 1]);
  });

  it("looks again at what its caller suspects", async () => {
    const snapshots = [seen(), seen(({ pic1 }) => Object.assign(pic1, { imr: 0 }))];
    const suspects = ({ chips }: Snapshot) => chips.pic1!.imr === 0xff;
    expect((await takeReading(looking(...snapshots), { suspects })).looks).toBe(2);
  });

  it.each([
    ["a file", { still: true }, eoiOnItsWay(20)],
    ["a VM that nobody runs", {}, eoiOnItsWay(20, false)],
    ["a session without a guest", { guest: false }, eoiOnItsWay(20)],
  ])("takes one look at %s, which stays as it is", async (_, options, snapshot) => {
    const reading = await takeReading(looking(snapshot), options);
    expect([codes(reading), reading.looks]).toEqual([["remote-irr-stuck"], 1]);
  });
});
