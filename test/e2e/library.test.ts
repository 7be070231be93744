import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { noTracing } from "../support/tracing.ts";

/** Runs a program that imports the package by its name, as one that depends on it does. */
function program(text: string): unknown {
  const argv = ["--input-type=module", "--eval", text];
  const { stdout, stderr, status } = spawnSync(process.execPath, argv, { encoding: "utf8" });
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  return JSON.parse(stdout);
}

describe("the library, imported by its name", () => {
  it("has the model and what explains it", () => {
    const told = program(`
      import { applyPreset, explainGsi, LocalSource, ModelMachine, readSource } from "kvm-irq";
      const machine = new ModelMachine(1);
      applyPreset(machine, "ioapic");
      const status = machine.setIrqLine(4, 1);
      const { snapshot } = await readSource(new LocalSource(machine), []);
      console.log(JSON.stringify({ status, irr: snapshot.chips.lapic[0].irr, way: explainGsi(snapshot, 5).sentence }));
    `);
    expect(told).toEqual({ status: 1, irr: [0x34], way: expect.stringContaining("vector 0x35") });
  });

  it("goes by its old names, too", () => {
    const told = program(`
      import { LocalSource, LocalTarget, readSource, readTarget } from "kvm-irq";
      console.log(JSON.stringify([LocalTarget === LocalSource, readTarget === readSource]));
    `);
    expect(told).toEqual([true, true]);
  });

  it.skipIf(noTracing !== undefined)(
    `records what its own VM does (${noTracing ?? "on this kernel"})`,
    () => {
      const chains = program(`
      import { applyPreset, chainsOf, KvmMachine, recordTrace } from "kvm-irq";
      const machine = new KvmMachine(1);
      applyPreset(machine, "ioapic");
      const end = new AbortController();
      const onStart = () => {
        machine.setIrqLine(20, 1);
        end.abort();
      };
      const events = [];
      await recordTrace({ pids: [process.pid], signal: end.signal, onStart }, (event) => events.push(event));
      machine.close();
      console.log(JSON.stringify(chainsOf(events.filter((event) => event.process === process.pid))));
    `);
      expect(chains).toMatchObject([{ gsi: 20, vector: 0x44, trigger: "level", outcome: "unfinished" }]);
    },
  );
});
