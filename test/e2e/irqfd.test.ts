import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { descriptorsOf, User } from "../support/cli.ts";
import { haveKvm } from "../support/kvm.ts";

const user = new User({ KVM_IRQ_BACKEND: "kvm" });
afterAll(() => expect(user.dispose()).toEqual([]));

const irqfds = () => user.json(["irqfd", "list"]).irqfds;
const eventually = (...conditions: string[]) => user.ok(["expect", ...conditions, "--timeout", "5s"]);

describe.skipIf(!haveKvm)("irqfd (skipped without /dev/kvm)", () => {
  let pid = 0;
  const eventfds = () => descriptorsOf(pid).filter((target) => target.includes("[eventfd")).length;
  beforeEach(() => {
    pid = user.json(["create", "--preset", "ioapic", "--replace"]).pid;
  });

  it("raises its GSI when it is kicked, and the local APIC has the vector", () => {
    expect(user.json(["irqfd", "bind", "4"]).irqfds).toEqual([{ gsi: 4, resample: false, kicks: 0 }]);
    user.ok(["irqfd", "kick", "4", "--count", "3"]);
    eventually("lapic[0].irr=0x34");
    expect(irqfds()).toEqual([{ gsi: 4, resample: false, kicks: 3 }]);
    expect(user.ok(["irqfd", "list"])).toMatch(/GSI +KIND +KICKS +RESAMPLED\n +4 +edge +3 +-\n/);
  });

  it("of a GSI that is routed to an MSI sends it", () => {
    user.ok(["route", "set", "30=msi:0xfee00000/0x51"]);
    user.ok(["irqfd", "bind", "30"]);
    user.ok(["irqfd", "kick", "30"]);
    eventually("lapic[0].irr=0x51");
  });

  it("with --resample keeps the line up until the EOI", () => {
    user.ok(["irqfd", "bind", "20", "--resample"]);
    user.ok(["irqfd", "kick", "20"]);
    eventually("ioapic.irr&0x100000", "ioapic.redirtbl[20].remote_irr=true", "lapic[0].irr=0x44");
    expect(irqfds()).toEqual([{ gsi: 20, resample: true, kicks: 1, resampled: 0 }]);
  });

  it("is a fact of a dump: its eventfd, who has it open, and the one route that it takes", () => {
    user.ok(["route", "set", "default", "30=msi:0xfee00000/0x51"]);
    user.ok(["irqfd", "bind", "30"]);
    user.ok(["irqfd", "bind", "20", "--resample"]);
    const { irqfds, routes, source } = user.json(["dump", "--chip", "irqfds,routes"]);
    const holders = [{ pid: source.pid, comm: "kvm-irq-holder", fd: expect.any(Number), is: "vmm" }];
    const eventfd = { id: expect.any(Number), count: 0, holders };
    expect(irqfds.from).toBe("session");
    expect(irqfds.value).toMatchObject([
      { gsi: 20, eventfd, resample: eventfd, entry: { gsi: 20, chip: "ioapic", pin: 20 } },
      { gsi: 30, eventfd, entry: { gsi: 30, msi: { address: 0xfee00000, data: 0x51 } } },
    ]);
    expect(routes.value).toContainEqual({ gsi: 30, msi: { address: 0xfee00000, data: 0x51 } });
    expect(user.ok(["dump", "--chip", "irqfds"])).toMatch(
      /^ +30 +\d+ +0 +edge +MSI: vector 0x51.* VMM kvm-irq-holder/m,
    );
  });

  it("is not told of what can't be seen: status 2, with what there is", () => {
    const refused = user.run(["dump", "--chip", "timers"]);
    expect(refused).toMatchObject({ status: 2, stdout: "" });
    expect(refused.stderr).toMatch(
      /timers can't be read from session 'default'\nhint: it has: routes, irqfds/,
    );
  });

  it("with --resample is lowered by a guest's EOI, which is counted", async () => {
    user.ok(["create", "--guest", "ioapic", "--replace"]);
    user.ok(["irqfd", "bind", "20", "--resample"]);
    for (let kicks = 1; kicks <= 3; kicks++) {
      user.ok(["irqfd", "kick", "20"]);
      const end = Date.now() + 5000;
      while (irqfds()[0].resampled < kicks && Date.now() < end);
      expect(irqfds()).toEqual([{ gsi: 20, resample: true, kicks, resampled: kicks }]);
    }
    const { chips, guest } = user.json(["dump"]);
    expect(guest.handled).toEqual([{ vector: 0x44, count: 3 }]);
    expect([chips.ioapic.irr, chips.ioapic.redirtbl[20].remote_irr]).toEqual([0, false]);
  });

  it("that is unbound is gone, its eventfds too, and can be bound anew", () => {
    const before = eventfds();
    user.ok(["irqfd", "bind", "20", "--resample"]);
    user.ok(["irqfd", "bind", "4"]);
    expect(eventfds()).toBe(before + 3);
    expect(user.json(["irqfd", "unbind", "20"]).irqfds).toMatchObject([{ gsi: 4 }]);
    user.ok(["irqfd", "unbind", "4"]);
    expect(eventfds()).toBe(before);
    user.ok(["irqfd", "bind", "4"]);
  });

  it("has a place in scripts", () => {
    const input = "irqfd bind 4\nirqfd kick 4\nexpect lapic[0].irr=0x34 --timeout 5s\nirqfd unbind 4\n";
    expect(user.run(["run", "-", "--preset", "ioapic"], { input }).status).toBe(0);
  });

  it.each([
    [["bind"]],
    [["bind", "24"]],
    [["bind", "4-5"]],
    [["bind", "4"]],
    [["bind", "5", "--count", "2"]],
    [["kick", "5"]],
    [["kick", "4", "--count", "0"]],
    [["kick", "4", "--resample"]],
    [["unbind", "5"]],
    [["list", "4"]],
    [["dance"]],
  ])("%j is refused with status 2 and changes nothing", (args) => {
    user.ok(["irqfd", "bind", "4"]);
    const { status, stdout, stderr } = user.run(["irqfd", ...args]);
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    expect(stderr).toMatch(/^kvm-irq: .*\nhint: /s);
    expect(irqfds()).toEqual([{ gsi: 4, resample: false, kicks: 0 }]);
  });

  it("can't be resampled with a split irqchip: KVM refuses, and nothing is left of it", () => {
    pid = user.json(["create", "--irqchip", "split", "--replace"]).pid;
    user.ok(["route", "set", "4=msi:0xfee00000/0x51"]);
    const before = eventfds();
    expect(user.run(["irqfd", "bind", "4", "--resample"]).status).toBe(5);
    expect([irqfds(), eventfds()]).toEqual([[], before]);
  });
});

describe("irqfd of the software model", () => {
  it("is refused", () => {
    user.ok(["create", "soft", "--backend", "model"]);
    const { status, stderr } = user.run(["-s", "soft", "irqfd", "bind", "4"]);
    expect(status).toBe(2);
    expect(stderr).toContain("the software model has no irqfds");
  });
});
