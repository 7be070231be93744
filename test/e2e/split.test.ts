import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { User } from "../support/cli.ts";
import { haveKvm } from "../support/kvm.ts";

const user = new User({ KVM_IRQ_BACKEND: "kvm" });
afterAll(() => expect(user.dispose()).toEqual([]));

describe.skipIf(!haveKvm)("a split irqchip (skipped without /dev/kvm)", () => {
  beforeAll(() => {
    user.ok(["create", "--irqchip", "split", "--preset", "lapic", "--vcpus", "2"]);
  });
  const irr = () => user.json(["dump"]).chips.lapic.map((one: { irr: number[] }) => one.irr);

  it("has local APICs and nothing else", () => {
    const { chips, routing } = user.json(["dump"]);
    expect(Object.keys(chips)).toEqual(["lapic"]);
    expect(routing).toEqual([]);
    expect(user.ok(["dump"])).toMatch(/\nno GSI is routed anywhere\n$/);
    expect(user.json(["list"]).sessions).toMatchObject([{ irqchip: "split" }]);
    const { status, stderr } = user.run(["dump", "--chip", "ioapic"]);
    expect(status).toBe(2);
    expect(stderr).toContain("has no ioapic\nhint: it has: lapic[0], lapic[1]");
  });

  it("takes MSIs", () => {
    user.ok(["set", "lapic[*].irr=[]"]);
    user.ok(["msi", "--vector", "0x41", "--dest", "1", "--require", "delivered"]);
    expect(irr()).toEqual([[], [0x41]]);
  });

  it("refuses lines, and says what works instead", () => {
    for (const command of ["pulse", "hold", "release"]) {
      const { status, stderr } = user.run([command, "4"]);
      expect(status).toBe(2);
      expect(stderr).toMatch(/GSI 4 is not routed\nhint: a split irqchip has local APICs alone: send an MSI/);
    }
  });

  it("takes GSIs that are routed to MSIs, and no other routes", () => {
    user.ok(["set", "lapic[*].irr=[]"]);
    user.ok(["route", "set", "4=msi:0xfee00000/0x51"]);
    user.ok(["pulse", "4", "--require", "delivered"]);
    expect(irr()).toEqual([[0x51], []]);
    const { status, stderr } = user.run(["route", "set", "4=ioapic:4"]);
    expect(status).toBe(2);
    expect(stderr).toContain("GSI 4 can't go to ioapic: a split irqchip has none");
    expect(user.json(["route", "show"]).routes).toHaveLength(1);
    expect(user.json(["route", "reset"]).routes).toEqual([]);
  });

  it("is known to a script before it runs", () => {
    const mistake = (...lines: string[]) => {
      const { status, stdout, stderr } = user.run(["-s", "default", "run", "-"], { input: lines.join("\n") });
      expect({ status, stdout }).toEqual({ status: 6, stdout: "" });
      return stderr;
    };
    const message = "route set 4=msi:0xfee00000/0x51";
    expect(mistake("dump", "dump --chip ioapic")).toContain("input:2: session 'default' has no ioapic");
    expect(mistake("dump", "route set 4=ioapic:4")).toContain("input:2: GSI 4 can't go to ioapic");
    expect(mistake(message, "pulse 4", "route reset", "pulse 4")).toContain("input:4: GSI 4 is not routed");
  });

  it("takes a snapshot's local APICs, and refuses one with other chips", () => {
    const input = user.ok(["dump", "--json"]);
    user.ok(["restore", "-"], { input });
    user.ok(["create", "full"]);
    const whole = user.ok(["-s", "full", "dump", "--json"]);
    expect(user.run(["restore", "-"], { input: whole }).status).toBe(6);
    user.ok(["restore", "-", "--chip", "lapic[0]"], { input: whole });
  });

  it.each([
    [["--preset", "ioapic"]],
    [["--preset", "pic"]],
    [["--guest", "ioapic"]],
    [["--backend", "model"]],
    [["--irqchip", "half"]],
  ])("with %j is refused with status 2", (args) => {
    const { status, stderr } = user.run(["create", "refused", "--irqchip", "split", ...args]);
    expect(status).toBe(2);
    expect(stderr).toMatch(/\nhint: /);
  });

  it("that is refused ends no session to make room for it", () => {
    const { pid } = user.json(["create", "kept"]);
    const args = ["create", "kept", "--replace", "--irqchip", "split", "--preset", "ioapic"];
    expect(user.run(args)).toMatchObject({ status: 2 });
    expect(user.json(["list"]).sessions).toContainEqual(expect.objectContaining({ name: "kept", pid }));
  });
});
