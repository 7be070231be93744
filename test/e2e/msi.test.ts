import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { User } from "../support/cli.ts";

const user = new User();
beforeAll(() => {
  user.ok(["create", "--vcpus", "2", "--preset", "ioapic"]);
});
beforeEach(() => {
  user.ok(["set", "lapic[*].irr=[]"]);
});
afterAll(() => expect(user.dispose()).toEqual([]));

const irr = () => user.json(["dump", "--chip", "lapic"]).chips.lapic.map((one: { irr: number[] }) => one.irr);

describe("msi", () => {
  it("by address and data arrives in the local APIC that the address names", () => {
    const { results } = user.json(["msi", "--address", "0xfee01000", "--data", "0x4041"]);
    expect(results).toMatchObject([
      {
        address: 0xfee0_1000,
        data: 0x4041,
        count: 1,
        delivered: 1,
        message: { vector: 0x41, dest_id: 1, dest_mode: "physical", trig_mode: "edge" },
      },
    ]);
    expect(irr()).toEqual([[], [0x41]]);
  });

  it("composed is the message that a device would have written", () => {
    const composed = ["msi", "--vector", "0x42", "--dest", "255", "--hint", "--trigger", "level"];
    expect(user.json([...composed, "--decode"])).toMatchObject({ address: 0xfeef_f008, data: 0xc042 });
    expect(user.json(composed).results).toMatchObject([{ last_status: 1 }]);
    expect(irr()).toEqual([[0x42], []]);
  });

  it("is shown to a person, with what it means", () => {
    expect(user.ok(["msi", "--vector", "0x43"])).toMatch(
      /0xfee00000 +0x00000043 +1 +1 +0 +0 +vector 0x43, fixed/,
    );
    expect(user.ok(["msi", "--vector", "0x43", "--decode"])).toMatch(/dest_mode +physical/);
  });

  it("with --decode needs no session and sends nothing", () => {
    user.ok(["msi", "-s", "nowhere", "--address", "0xfee00000", "--data", "0x44", "--decode"]);
    expect(irr()).toEqual([[], []]);
  });

  it("is counted as a pulse is, and --require judges it", () => {
    expect(user.json(["msi", "--vector", "0x45", "--count", "2500"]).results).toMatchObject([
      { count: 2500, delivered: 2500 },
    ]);
    const { status, stderr } = user.run(["msi", "--vector", "0x45", "--dest", "9", "--require", "delivered"]);
    expect({ status, stderr }).toEqual({ status: 1, stderr: "0 of 1 message delivered\n" });
  });

  it("has a place in scripts", () => {
    const input = "msi --vector 0x46 --require delivered\nexpect lapic[0].irr=0x46\n";
    expect(user.run(["run", "-", "--preset", "ioapic"], { input }).status).toBe(0);
  });

  it.each([
    [["--address", "0xfed00000", "--data", "0x41"]],
    [["--address", "0xfef00000", "--data", "0x41"]],
    [["--address", "0x1fee00000", "--data", "0x41"]],
    [["--address", "0xfee00000", "--data", "0x100000000"]],
    [["--address", "0xfee00000"]],
    [["--data", "0x41"]],
    [["--address", "0xfee00000", "--data", "0x41", "--vector", "0x41"]],
    [["--vector", "256"]],
    [["--vector", "0x41", "--dest", "256"]],
    [["--dest", "1"]],
    [[]],
    [["--vector", "0x41", "--mode", "psychic"]],
  ])("%j is refused with status 2 and changes nothing", (args) => {
    const before = user.json(["dump"]).chips;
    const { status, stdout, stderr } = user.run(["msi", ...args]);
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    expect(stderr).toMatch(/^kvm-irq: .*\nhint: /s);
    expect(user.json(["dump"]).chips).toEqual(before);
  });

  it("of a file is refused", () => {
    const input = user.ok(["dump", "--json"]);
    const { status, stderr } = user.run(["msi", "--snapshot", "-", "--vector", "0x41"], { input });
    expect(status).toBe(2);
    expect(stderr).toContain("can be read, not driven");
  });
});
