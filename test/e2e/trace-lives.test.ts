import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { chainsOf } from "../../src/arch/x86/lives/chains.ts";
import { readTrace } from "../../src/exports/ndjson.ts";
import { type Chain, STEPS, type Step } from "../../src/lives/chain.ts";
import { PROGRAM, User } from "../support/cli.ts";
import { cpuRunsApics, noTracing, OVER, tellsInjections } from "../support/tracing.ts";

const user = new User();
afterAll(() => expect(user.dispose()).toEqual([]));

const pulse = (session: string, gsi: string) => [
  "--",
  ...[process.execPath, PROGRAM, "-s", session, "pulse", gsi],
];

/** Interrupts of a running guest, each with every step that its way has. */
const WAYS: readonly {
  guest: string;
  gsi: string;
  life: Partial<Chain>;
  steps: readonly Step[];
}[] = [
  {
    guest: "ioapic",
    gsi: "4",
    life: { gsi: 4, vector: 0x34, route: "ioapic", trigger: "edge" },
    steps: ["raised", "accepted", "injected", "eoi"],
  },
  {
    guest: "ioapic",
    gsi: "20",
    life: { gsi: 20, vector: 0x44, route: "ioapic", trigger: "level" },
    steps: ["raised", "accepted", "injected", "eoi", "acknowledged"],
  },
  {
    guest: "pic",
    gsi: "4",
    life: { gsi: 4, route: "pic", trigger: "edge" },
    steps: ["raised", "accepted", "injected", "acknowledged"],
  },
];

describe.skipIf(noTracing !== undefined)(
  `the life of an interrupt (${noTracing ?? "on this kernel"})`,
  () => {
    beforeAll(() => {
      user.ok(["create", "ioapic", "--guest", "ioapic"]);
      user.ok(["create", "pic", "--guest", "pic"]);
      user.ok(["create", "still", "--preset", "ioapic"]);
    });

    it.each(WAYS)("of GSI $gsi into a guest with $guest is whole, its steps in order", async (way) => {
      const { guest, gsi, life, steps } = way;
      const saved = user.ok(["-s", guest, "trace", "--json", "--gsi", gsi, ...pulse(guest, gsi)]);
      const { events } = await readTrace(saved.split("\n"));
      const [chain, ...others] = chainsOf(events.filter(({ process }) => process !== null));
      expect(chain).toMatchObject({ ...life, again: false, outcome: expect.toBeOneOf([...OVER]) });
      // A level line is up for longer than a quick guest takes, and then comes again.
      expect(others.filter(({ again }) => !again)).toEqual([]);
      const { lowered, ...taken } = chain!.steps;
      if (!cpuRunsApics) {
        const told = steps.filter((step) => tellsInjections || step !== "injected");
        expect(STEPS.filter((step) => step in taken)).toEqual(told);
      }
      const times = STEPS.flatMap((step) => (step === "lowered" ? [] : (taken[step] ?? [])));
      expect(times).toEqual([...times].sort((one, other) => one - other));
      expect(times.at(-1)! - times[0]!).toBeGreaterThan(0);
      expect(times.at(-1)! - times[0]!).toBeLessThan(1e9);
      expect(lowered).toBeGreaterThan(times[0]!);
    });

    it("stops at the chip where it is masked", () => {
      user.ok(["-s", "ioapic", "set", "ioapic.redirtbl[11].mask=true"]);
      const shown = user.ok(["-s", "ioapic", "trace", "--gsi", "11", ...pulse("ioapic", "11")]);
      expect(shown).toMatch(
        /\nUnfinished\nGSI .*\n +11 +- +none +1 +[\d.]+ +raised +masked in the IOAPIC; masked in the PIC\n/,
      );
    });

    it("is unfinished for a level interrupt that nobody takes", () => {
      const command = ["--", process.execPath, PROGRAM, "-s", "still", "hold", "21"];
      const shown = user.ok(["-s", "still", "trace", "--gsi", "21", "--stats-only", "--json", ...command]);
      const { interrupts, unfinished } = JSON.parse(shown.trim());
      expect(interrupts).toEqual({ complete: 0, coalesced: 0, posted: 0, unfinished: 1 });
      expect(unfinished).toMatchObject([
        { gsi: 21, vector: 0x45, trigger: "level", stopped: { at: cpuRunsApics ? "posted" : "accepted" } },
      ]);
    });
  },
);
