import { describe, expect, it } from "vitest";
import { type ArgValue, bigintArg, type TraceEvent } from "../../src/trace/event.ts";

const withEntry = (e: ArgValue): TraceEvent => ({
  time: 0,
  cpu: 0,
  pid: 1,
  comm: "vmm",
  process: 1,
  event: "kvm_ioapic_set_irq",
  args: { e },
});

describe("an argument of 64 bits", () => {
  it("is a number, or hexadecimal text from 2^53 on", () => {
    expect(bigintArg(withEntry(52), "e")).toBe(52n);
    expect(bigintArg(withEntry("0xffffffffffffffff"), "e")).toBe(2n ** 64n - 1n);
    expect(bigintArg(withEntry(52), "address")).toBe(0n);
  });

  it.each<ArgValue>(["0x\ufffd41", "", "52", true, [1, 2]])(
    "is refused when a file has %j for it",
    (value) => {
      expect(() => bigintArg(withEntry(value), "e")).toThrow(
        expect.objectContaining({
          code: "bad-input",
          message: expect.stringContaining("kvm_ioapic_set_irq whose e is"),
        }),
      );
    },
  );
});
