import { describe, expect, it } from "vitest";
import { parsePath, resolvePath } from "../../src/registers/path.ts";

const state = () => ({
  pic1: { imr: 0xff, irr: 0 },
  ioapic: { irr: 1, redirtbl: [{ mask: true }, { mask: false }, { mask: true }] },
  lapic: [
    { vcpu: 1, svr: 0x1ff, irr: [0x44] },
    { vcpu: 3, svr: 0xff, irr: [] },
  ],
});

const find = (text: string) => resolvePath(state(), parsePath(text)).map(({ path, value }) => [path, value]);

describe("a path", () => {
  it.each([
    ["pic1.imr", [["pic1.imr", 0xff]]],
    ["chips.pic1.imr", [["pic1.imr", 0xff]]],
    ["ioapic.redirtbl[1].mask", [["ioapic.redirtbl[1].mask", false]]],
    [
      "ioapic.redirtbl[1-2].mask",
      [
        ["ioapic.redirtbl[1].mask", false],
        ["ioapic.redirtbl[2].mask", true],
      ],
    ],
    [
      "lapic[*].svr",
      [
        ["lapic[1].svr", 0x1ff],
        ["lapic[3].svr", 0xff],
      ],
    ],
    ["lapic[3].irr", [["lapic[3].irr", []]]],
    ["ioapic.redirtbl[0].reserved", [["ioapic.redirtbl[0].reserved", 0]]],
  ])("%s leads to its fields", (text, fields) => {
    expect(find(text)).toEqual(fields);
  });

  it("finds a local APIC by its vCPU's number, not its place in the list", () => {
    expect(() => find("lapic[0].svr")).toThrow("there is no lapic[0]");
  });

  it("that asks for more elements than there are says how many there are", () => {
    expect(() => find("ioapic.redirtbl[7].mask")).toThrow(
      "there is no ioapic.redirtbl[7]: it has 3 elements",
    );
    expect(() => find("ioapic.redirtbl[0-99].mask")).toThrow(
      "ioapic.redirtbl does not have all of [0-99]: it has 3 elements",
    );
  });

  it.each([
    "",
    "4",
    ".imr",
    "pic1..imr",
    "pic1.imr ",
    "ioapic.redirtbl[",
    "ioapic.redirtbl[a]",
    "a-b",
    "pic1.imr[-1]",
  ])("%j is refused as no path", (text) => {
    expect(() => parsePath(text)).toThrow(expect.objectContaining({ code: "bad-path" }));
  });

  it.each([
    "pic9.imr",
    "pic1.nothing",
    "pic1.imr.more",
    "ioapic.redirtbl[3].mask",
    "ioapic.redirtbl[2-1].mask",
    "pic1[0]",
    "pic1.constructor",
  ])("%s leads nowhere, which is an error and never silently nothing", (text) => {
    expect(() => find(text)).toThrow(expect.objectContaining({ code: "bad-path" }));
  });

  it("sets what it leads to", () => {
    const root = state();
    for (const field of resolvePath(root, parsePath("ioapic.redirtbl[*].mask"))) field.set(false);
    expect(root.ioapic.redirtbl.map(({ mask }) => mask)).toEqual([false, false, false]);
  });
});
