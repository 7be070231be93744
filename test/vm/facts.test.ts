import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { explainGsi } from "../../src/arch/x86/explain/explain.ts";
import { X86_64 } from "../../src/arch/x86/index.ts";
import type { Chips, Snapshot } from "../../src/arch/x86/state.ts";
import type { VcpuState } from "../../src/arch/x86/vcpu/layout.ts";
import { readSource } from "../../src/operations/take-snapshot.ts";
import { FileSource } from "../../src/sources/file/source.ts";
import { checkSnapshot } from "../../src/vm/schema.ts";
import { makeSnapshot } from "../../src/vm/snapshot.ts";
import { someFacts } from "../support/facts.ts";

const folder = mkdtempSync(join(tmpdir(), "kvm-irq-facts-"));
afterAll(() => rmSync(folder, { recursive: true }));

const HOST = { kernel: "6.18", arch: "x86_64" };

function withFacts(facts: object): Snapshot {
  return { ...makeSnapshot<Chips, VcpuState>(X86_64, [], { kind: "process", pid: 4242 }, HOST), ...facts };
}

describe("facts of a snapshot", () => {
  it("fit the schema, every field of them", () => {
    const snapshot = withFacts({ ...someFacts(), unknown: { posted: "this CPU posts no interrupts" } });
    expect(checkSnapshot(snapshot)).toEqual({ snapshot });
  });

  it.each([
    [
      "an origin that is none",
      { apicv: { from: "hearsay", value: { vcpus: [], inhibits: [] } } },
      "apicv.from",
    ],
    [
      "a field that there is not",
      { irqfds: { from: "session", value: [{ gsi: 1, eventfd: {}, nice: 1 }] } },
      "irqfds.value[0].nice",
    ],
    ["a route to nothing", { routes: { from: "session", value: [{ gsi: 1 }] } }, "routes.value[0]"],
    [
      "a vector above 255",
      { posted: { from: "session", value: [{ vcpu: 0, pir: [256], on: true, sn: true }] } },
      "posted.value[0].pir[0]",
    ],
    ["a reason for what is no fact", { unknown: { weather: "rain" } }, "unknown.weather"],
  ])("do not fit it with %s", (_, facts, path) => {
    const checked = checkSnapshot(withFacts(facts));
    expect(checked).toMatchObject({ issues: [{ path }] });
  });

  it("come out of a saved snapshot as they were, with where they came from", async () => {
    const file = join(folder, "snap.json");
    const facts = { ...someFacts(), unknown: { posted: "this CPU posts no interrupts" } };
    writeFileSync(file, JSON.stringify(withFacts(facts)));
    const { snapshot } = await readSource(new FileSource(file));
    expect(snapshot).toMatchObject(facts);
  });
});

describe("the routes of a snapshot", () => {
  it("are followed like a routing that was set, and nothing is assumed", () => {
    const { ways, assumptions } = explainGsi(withFacts(someFacts()), 4);
    expect(ways.map(({ via }) => via)).toEqual(["pic", "ioapic"]);
    expect(assumptions).toEqual([]);
  });

  it.each([
    [26, "hv_sint", "kvm-irq does not follow what reaches SINT 2 of vCPU 0"],
    [27, "xen_evtchn", "kvm-irq does not follow what reaches Xen event channel 7"],
  ])("to what is no interrupt controller of KVM's are not followed: GSI %i", (gsi, via, text) => {
    const { verdict, ways } = explainGsi(withFacts(someFacts()), gsi);
    expect(verdict).toBe("unknown");
    expect(ways).toMatchObject([{ via, stages: [{}, { code: "route-not-followed", text }] }]);
  });
});
