import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { chainsOf } from "../../src/arch/x86/lives/chains.ts";
import { readTrace } from "../../src/exports/ndjson.ts";
import type { Chain } from "../../src/lives/chain.ts";
import { PROGRAM, User } from "../support/cli.ts";
import { cpuRunsApics, noTracing } from "../support/tracing.ts";

const user = new User();
afterAll(() => expect(user.dispose()).toEqual([]));

/** The interrupts of a trace around a command, without what work queues do meanwhile for VMs of other tests. */
async function chainsAround(...command: string[]): Promise<Chain[]> {
  const text = user.ok(["trace", "--json", "--", process.execPath, PROGRAM, ...command]);
  const { events } = await readTrace(text.split("\n"));
  return chainsOf(events.filter(({ process }) => process !== null));
}

describe.skipIf(noTracing !== undefined)(
  `what a local APIC is offered, in a trace (${noTracing ?? "on this kernel"})`,
  () => {
    beforeEach(() => {
      user.ok(["create", "--preset", "ioapic", "--replace"]);
    });

    it.each(["nmi", "init"])("as an %s of a pin is complete, without a vector", async (mode) => {
      user.ok(["set", `ioapic.redirtbl[4].delivery_mode=${mode}`]);
      const [chain, ...others] = await chainsAround("pulse", "4", "--require", "delivered");
      expect(others).toEqual([]);
      expect(chain).toMatchObject({ gsi: 4, vector: null, delivery_mode: mode, route: "ioapic" });
      expect(chain).toMatchObject({ outcome: "complete", stopped: null });
    });

    it("as an NMI of an MSI is complete, and reads as one", async () => {
      const message = ["msi", "--vector", "0x61", "--mode", "nmi", "--require", "delivered"];
      expect(await chainsAround(...message)).toMatchObject([
        { gsi: null, vector: null, delivery_mode: "nmi", route: "msi", outcome: "complete" },
      ]);
      const shown = user.ok(["trace", "--", process.execPath, PROGRAM, ...message]);
      expect(shown).toMatch(/ kvm_apic_accept_irq +apic 0 vector 0x61 edge, nmi\n/);
      expect(shown).toMatch(/\n1 +[\d.]+ +- +nmi +msi +edge +complete +raised, \S+ accepted\n/);
    });

    it("is refused by one that is software-disabled, and dropped in silence as an MSI", async () => {
      user.ok(["set", "lapic[0].svr=0xff"]);
      expect(await chainsAround("pulse", "4", "--require", "coalesced")).toMatchObject([
        { outcome: "unfinished", stopped: { why: "refused: the local APIC is software-disabled" } },
      ]);
      expect(await chainsAround("msi", "--vector", "0x41", "--require", "coalesced")).toMatchObject([
        { outcome: "unfinished", stopped: { why: expect.stringContaining("or dropped") } },
      ]);
      expect(user.json(["dump"]).chips.lapic[0].irr).toEqual([]);
    });

    it("is taken once more though it is in the IRR already", async () => {
      user.ok(["pulse", "4", "--require", "delivered"]);
      const [chain, ...others] = await chainsAround("pulse", "4", "--require", "delivered");
      expect(others).toEqual([]);
      expect(chain).toMatchObject({ outcome: cpuRunsApics ? "posted" : "unfinished" });
      expect(chain!.stopped!.why).not.toContain("disabled");
    });

    it("is nothing when there is none at the pin's destination", async () => {
      user.ok(["set", "ioapic.redirtbl[4].dest_id=5"]);
      expect(await chainsAround("pulse", "4", "--require", "coalesced")).toMatchObject([
        { route: "none", outcome: "coalesced", stopped: { why: expect.stringContaining("no local APIC") } },
      ]);
    });

    it("as an ExtINT is dropped", async () => {
      expect(
        await chainsAround("msi", "--vector", "0x61", "--mode", "extint", "--require", "coalesced"),
      ).toMatchObject([{ delivery_mode: "extint", outcome: "unfinished", stopped: { at: "accepted" } }]);
    });
  },
);
