import * as v from "valibot";
import { describe, expect, it } from "vitest";
import { IOAPIC } from "../../src/arch/x86/ioapic/layout.ts";
import { VCPU } from "../../src/arch/x86/vcpu/layout.ts";
import { fieldSchemas } from "../../src/registers/schema.ts";

const accepts = (schema: v.GenericSchema, value: unknown) => v.safeParse(schema, value).success;

describe("the schema of a structure follows from its fields", () => {
  const ioapic = v.strictObject(fieldSchemas(IOAPIC.fields));
  const blank = IOAPIC.decode(new Uint8Array(IOAPIC.size));

  it("takes what the codec gives, with and without optional fields", () => {
    expect(accepts(ioapic, blank)).toBe(true);
    expect(accepts(ioapic, { ...blank, pad: 5 })).toBe(true);
  });

  it.each([
    ["a number that is too large for its bits", { vector: 256 }],
    ["a word that is none of its own", { delivery_mode: "wrong" }],
    ["a number for a flag", { mask: 1 }],
    ["a field that there is not", { colour: 1 }],
  ])("refuses %s", (_, change) => {
    const redirtbl = blank.redirtbl.map((entry, pin) => (pin === 3 ? { ...entry, ...change } : entry));
    expect(accepts(ioapic, { ...blank, redirtbl })).toBe(false);
  });

  it("takes numbers without a word where the list of words is open", () => {
    const vcpu = v.strictObject(fieldSchemas(VCPU.fields));
    const state = VCPU.decode(new Uint8Array(VCPU.size));
    expect(accepts(vcpu, { ...state, mp_state: "unknown-77" })).toBe(true);
    expect(accepts(vcpu, { ...state, mp_state: "unknown-x" })).toBe(false);
  });
});
