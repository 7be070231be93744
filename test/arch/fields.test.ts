import { describe, expect, it } from "vitest";
import { chipOfPath } from "../../src/arch/fields.ts";
import { X86_64 } from "../../src/arch/x86/index.ts";
import { parsePath } from "../../src/registers/path.ts";

describe("the chip that a path leads into", () => {
  it.each([
    ["pic1.imr", "pic1"],
    ["lapic[2].svr", "lapic[2]"],
    ["lapic[*].svr", "lapic"],
    ["lapic[0-1].svr", "lapic"],
    ["vcpus[0].rflags", "vcpu[0]"],
    ["vcpu[0].rflags", "vcpu[0]"],
    ["vcpus[*].rflags", "vcpu"],
  ])("%s asks for chip %s", (text, chip) => {
    expect(chipOfPath(X86_64, parsePath(text))).toBe(chip);
  });

  it("is refused where the architecture has none", () => {
    expect(() => chipOfPath(X86_64, parsePath("gicd.ctlr"))).toThrow("there is no gicd (in gicd.ctlr)");
  });
});
