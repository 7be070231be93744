import { describe, expect, it } from "vitest";
import { type ArgValue, type TraceEvent, wordsArg } from "../../src/tracefs/event.ts";

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
    expect(wordsArg(withEntry(52), "e")).toEqual([52, 0]);
    expect(wordsArg(withEntry("0xfffffffffffffffe"), "e")).toEqual([2 ** 32 - 2, 2 ** 32 - 1]);
    expect(wordsArg(withEntry(2 ** 53 - 1), "e")).toEqual([2 ** 32 - 1, 2 ** 21 - 1]);
    expect(wordsArg(withEntry(52), "address")).toEqual([0, 0]);
  });

  it.each<ArgValue>(["0x\ufffd41", "", "52", true, [1, 2]])(
    "is refused when a file has %j for it",
    (value) => {
      expect(() => wordsArg(withEntry(value), "e")).toThrow(
        expect.objectContaining({
          code: "bad-input",
          message: expect.stringContaining("kvm_ioapic_set_irq whose e is"),
        }),
      );
    },
  );
});
