import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { archNamed } from "../../src/arch/arches.ts";
import type { ChipImage } from "../../src/vm/chip.ts";
import { fromRaw, toRaw } from "../../src/vm/raw.ts";

const bytes = (size: number) => fc.uint8Array({ minLength: size, maxLength: size });
const chips = fc
  .tuple(
    fc.option(bytes(16), { nil: undefined }),
    fc.option(bytes(16), { nil: undefined }),
    fc.option(bytes(216), { nil: undefined }),
    fc.array(bytes(1024), { maxLength: 5 }),
  )
  .map(([pic1, pic2, ioapic, lapics]) => [
    ...(pic1 ? [{ id: "pic1", bytes: pic1 }] : []),
    ...(pic2 ? [{ id: "pic2", bytes: pic2 }] : []),
    ...(ioapic ? [{ id: "ioapic", bytes: ioapic }] : []),
    ...lapics.map((lapic, n) => ({ id: `lapic[${n}]`, bytes: lapic })),
  ])
  .filter((list) => list.length > 0) as fc.Arbitrary<ChipImage[]>;

describe("raw bytes of chips", () => {
  it("come back as they were, whichever chips they are of", () => {
    fc.assert(
      fc.property(chips, (list) => {
        const back = fromRaw(toRaw(list));
        expect(back.map(({ id, bytes: image }) => [id, [...image]])).toEqual(
          list.map(({ id, bytes: image }) => [id, [...image]]),
        );
      }),
    );
  });

  it("of a lone kvm_ioapic_state are taken, with 24 pins or ia64's 48", () => {
    expect(fromRaw(new Uint8Array(216))).toMatchObject([{ id: "ioapic" }]);
    expect(fromRaw(new Uint8Array(408), archNamed("ia64"))).toMatchObject([{ id: "ioapic" }]);
  });

  it.each([0, 1, 16, 215, 519, 521, 1023, 4 * 520 + 1])("of %d bytes are refused", (size) => {
    expect(() => fromRaw(new Uint8Array(size))).toThrow(expect.objectContaining({ code: "bad-input" }));
  });

  it("of x86's three chips are refused as ia64's, with what a file of ia64 is", () => {
    expect(() => fromRaw(new Uint8Array(3 * 520 + 1024), archNamed("ia64"))).toThrow(
      expect.objectContaining({ hint: expect.stringContaining("of ia64 is one struct kvm_irqchip") }),
    );
  });

  it("with a chip_id that KVM does not have are refused", () => {
    expect(() => fromRaw(Uint8Array.from({ length: 520 }, (_, index) => (index === 0 ? 3 : 0)))).toThrow(
      "chip_id 3",
    );
  });
});
