import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { chainsOf } from "../../src/arch/x86/lives/chains.ts";
import { readTrace } from "../../src/exports/ndjson.ts";
import { haveQemu } from "../support/attach.ts";
import { finished, PROGRAM, User } from "../support/cli.ts";
import { Qemu } from "../support/qemu.ts";
import { noTracing } from "../support/tracing.ts";

const user = new User();
afterAll(() => expect(user.dispose()).toEqual([]));

describe.skipIf(noTracing !== undefined)(`an MSI in a trace (${noTracing ?? "on this kernel"})`, () => {
  const send = ["--", process.execPath, PROGRAM, "msi", "--vector", "0x61", "--dest", "5"];
  beforeAll(() => {
    user.ok(["create", "--preset", "lapic"]);
  });

  it("to nobody is unfinished", () => {
    const { unfinished } = JSON.parse(user.ok(["trace", "--stats-only", "--json", ...send]));
    expect(unfinished).toMatchObject([
      { route: "none", vector: 0x61, stopped: { why: "no local APIC at the MSI's destination" } },
    ]);
  });

  it("to nobody is drawn, too", () => {
    const { traceEvents } = JSON.parse(user.ok(["trace", "--format", "perfetto", ...send]));
    expect(traceEvents).toContainEqual(expect.objectContaining({ name: "vector 0x61", ph: "b" }));
  });
});

describe.skipIf(noTracing !== undefined || !haveQemu)(
  `QEMU with a split irqchip (needs qemu-system-x86_64; ${noTracing ?? "on this kernel"})`,
  () => {
    it("has sent no MSI when its vCPU has only looked at the routes", async () => {
      const qemu = await Qemu.start("-machine", "q35,kernel-irqchip=split", "-S");
      const recorder = user.start(["--pid", String(qemu.pid), "trace", "--for", "3s", "--json"]);
      const done = finished(recorder);
      await new Promise((resolve) => recorder.stderr!.once("data", resolve));
      await qemu.execute("cont");
      const { stdout } = await done.finally(() => qemu.end());
      const events = (await readTrace(stdout.split("\n"))).events.filter(
        ({ process }) => process === qemu.pid,
      );
      expect(events.map(({ event }) => event)).toContain("kvm_msi_set_irq");
      expect(chainsOf(events).filter(({ route }) => route === "none" || route === "msi")).toEqual([]);
    });
  },
);
