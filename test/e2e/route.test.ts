import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { User } from "../support/cli.ts";

const user = new User();
beforeAll(() => {
  user.ok(["create", "--preset", "ioapic"]);
});
afterEach(() => {
  user.ok(["route", "reset"]);
  user.ok(["set", "lapic[0].irr=[]"]);
});
afterAll(() => expect(user.dispose()).toEqual([]));

const irr = () => user.json(["dump", "--chip", "lapic"]).chips.lapic[0].irr;
const MSI = "30=msi:0xfee00000/0x4041";

describe("route", () => {
  it("show has KVM's default at first", () => {
    const { default: isDefault, routes } = user.json(["route", "show"]);
    expect(isDefault).toBe(true);
    expect(routes).toHaveLength(40);
    expect(user.ok(["route", "show"])).toMatch(/\n +9 +pic2 pin 1, ioapic pin 9\n/);
  });

  it("set makes a GSI beyond 23 valid, and its pulse an MSI that the local APIC has", () => {
    expect(user.run(["pulse", "30"])).toMatchObject({ status: 2 });
    expect(user.ok(["route", "set", "default", MSI])).toMatch(/\n +30 +MSI: vector 0x41, fixed, edge/);
    expect(user.json(["pulse", "30"]).results).toMatchObject([{ gsi: 30, delivered: 1 }]);
    expect(irr()).toEqual([0x41]);
    expect(user.json(["pulse", "4"]).results).toMatchObject([{ delivered: 1 }]);
    expect(user.ok(["dump"])).toMatch(/a routing of its own\n.*\n(.*\n)* +30 +MSI/);
    expect(user.ok(["dump", "--chip", "pic", "--chip", "routes"])).toMatch(
      /^PIC1 .*a routing of its own\n/ms,
    );
    expect(user.ok(["dump", "--chip", "pic"])).not.toMatch(/a routing of its own/);
    expect(user.json(["dump"]).routing).toContainEqual({
      gsi: 30,
      msi: { address: 0xfee0_0000, data: 0x4041 },
    });
  });

  it("set takes the whole table: GSIs that it leaves out go nowhere, and pulse refuses them", () => {
    user.ok(["route", "set", "0=pic:0,ioapic:2", "9=pic2:1"]);
    expect(user.json(["pulse", "0"]).results).toMatchObject([{ delivered: 1 }]);
    expect(irr()).toEqual([0x32]);
    expect(user.ok(["dump"])).toMatch(/^IR0 +0 +0x.*^IR3 +- +0x.*^IR1 +9 +0x/ms);
    const before = user.json(["dump"]).chips;
    const { status, stderr } = user.run(["pulse", "0", "4"]);
    expect(status).toBe(2);
    expect(stderr).toContain("GSI 4 is not routed\nhint: `kvm-irq -s default route show`");
    expect(user.json(["dump"]).chips).toEqual(before);
  });

  it("set lets a later word for a GSI take the place of an earlier one", () => {
    user.ok(["route", "set", "default", "2=none", "0=pic:0,ioapic:2"]);
    const { routes } = user.json(["route", "show"]);
    expect(routes.filter(({ gsi }: { gsi: number }) => gsi === 2)).toEqual([]);
    expect(routes.filter(({ gsi }: { gsi: number }) => gsi === 0)).toEqual([
      { gsi: 0, chip: "pic1", pin: 0 },
      { gsi: 0, chip: "ioapic", pin: 2 },
    ]);
  });

  it("of a snapshot is that of the VM it was taken of, and restore leaves the VM's own alone", () => {
    user.ok(["route", "set", MSI]);
    const input = user.ok(["dump", "--json"]);
    expect(user.json(["--snapshot", "-", "route", "show"], { input }).routes).toHaveLength(1);
    user.ok(["route", "reset"]);
    user.ok(["restore", "-"], { input });
    expect(user.json(["route", "show"]).default).toBe(true);
  });

  it("has a place in scripts, and says where GSIs behind it go", () => {
    const input = `route set ${MSI}\npulse 30 --require delivered\nexpect lapic[0].irr=0x41\n`;
    expect(user.run(["run", "-", "--preset", "ioapic"], { input }).status).toBe(0);
    expect(user.run(["-s", "default", "run", "-"], { input }).status).toBe(0);
  });

  it("without a place in the script, a GSI that goes nowhere is found before the first line runs", () => {
    const input = "pulse 4\npulse 30\n";
    for (const target of [[], ["-s", "default"]]) {
      const { status, stdout, stderr } = user.run([...target, "run", "-"], { input });
      expect({ status, stdout }).toEqual({ status: 6, stdout: "" });
      expect(stderr).toContain("standard input:2: GSI 30 is not routed");
    }
    user.ok(["route", "set", "default", MSI]);
    expect(user.run(["-s", "default", "run", "-"], { input }).status).toBe(0);
    expect(user.run(["run", "-"], { input }).status).toBe(6);
  });

  it.each([
    [["set"]],
    [["show", "default"]],
    [["reset", "default"]],
    [["fix"]],
    [["set", "default", "1=ioapic:24"]],
    [["set", "1=pic:16"]],
    [["set", "1=pic1:8"]],
    [["set", "4096=ioapic:1"]],
    [["set", "1=ioapic:1,ioapic:2"]],
    [["set", "1=ioapic:1,msi:0xfee00000/0"]],
    [["set", "1=msi:0xfed00000/0"]],
    [["set", "1=msi:0xfee00000/0x100000000"]],
    [["set", "1=lapic:1"]],
    [["set", "ioapic:1"]],
    [["set", "1=ioapic:1", ""]],
  ])("%j is refused with status 2, and the routing stays as it was", (args) => {
    user.ok(["route", "set", MSI]);
    const { status, stdout, stderr } = user.run(["route", ...args]);
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    expect(stderr).toMatch(/^kvm-irq: .*\nhint: /s);
    expect(user.json(["route", "show"]).routes).toHaveLength(1);
  });
});
