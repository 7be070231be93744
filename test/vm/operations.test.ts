import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import { ModelMachine } from "../../src/arch/x86/model/machine.ts";
import { pulseHandled } from "../../src/operations/handled.ts";
import { FileSource } from "../../src/sources/file/source.ts";
import { LocalSource, scratchIdentity } from "../../src/sources/local/source.ts";
import { decode, encode } from "../../src/sources/session/protocol.ts";
import type { ChipImage } from "../../src/vm/chip.ts";
import type { GuestState } from "../../src/vm/guest.ts";
import { carryOut, OPERATIONS, type OperationName, operation, type Params } from "../../src/vm/operations.ts";

const PIC: ChipImage = { id: "pic1", bytes: Uint8Array.from({ length: 16 }, (_, n) => n) };
const SAMPLES: { [N in OperationName]: Params<N> } = {
  readChips: { ids: ["pic1", "lapic[0]", "vcpu[0]"] },
  writeChips: { images: [PIC], expected: [] },
  setIrqLines: {
    steps: [
      { gsi: 4, level: 1 },
      { gsi: 4, level: 0 },
    ],
    transient: true,
  },
  signalMsis: { messages: [{ address: 0xfee0_0000, data: 0x41 }] },
  setRouting: { routing: [{ gsi: 4095, msi: { address: 0xfee0_0000, data: 0x41 } }] },
  irqfd: { action: { do: "bind", gsi: 4, resample: true } },
  handled: {},
};
const NAMES = Object.keys(OPERATIONS) as OperationName[];

/** A model with all that a machine can have: a guest that has handled so many interrupts, and irqfds. */
function machine(counts: () => number = () => 3): ModelMachine {
  const guest = (): GuestState => ({
    program: "pic",
    running: true,
    handled: [
      { vector: 0x24, count: counts() },
      { vector: 0x28, count: 1 },
    ],
  });
  return Object.defineProperties(new ModelMachine(1), {
    guest: { get: guest },
    irqfd: { value: () => [{ gsi: 4, resample: true, kicks: 0, resampled: 0 }] },
  });
}

describe.each(NAMES)("the operation %s", (name) => {
  const { params, result, answers } = operation(name);
  const sample = SAMPLES[name];
  const travelled = (value: object): object => JSON.parse(JSON.stringify(encode(name, value)));

  it("takes its parameters after a journey, and nothing beside them", () => {
    expect(params(travelled(sample))).toBe(true);
    expect(params({ ...travelled(sample), further: 1 })).toBe(false);
    expect(params(null)).toBe(false);
    for (const field of Object.keys(sample))
      expect(params({ ...travelled(sample), [field]: null })).toBe(false);
  });

  it("gives what its result may be, an answer to what was asked", () => {
    const vm = machine();
    const given = carryOut(name, vm, decode(name, travelled(sample)) as never, scratchIdentity(vm));
    expect(result(travelled(given))).toBe(true);
    expect(travelled(decode(name, travelled(given)))).toEqual(travelled(given));
    expect(answers?.(sample as never, given as never) ?? true).toBe(true);
    expect(result(null)).toBe(false);
    for (const field of Object.keys(given))
      expect(result({ ...travelled(given), [field]: null })).toBe(false);
  });
});

describe("a source without what an operation needs", () => {
  it("that is a file says so of all but a guest's count, and can do none of them", async () => {
    const folder = mkdtempSync(join(tmpdir(), "kvm-irq-file-"));
    writeFileSync(join(folder, "pics.bin"), new Uint8Array(1040).fill(1, 520, 521));
    const file = new FileSource(join(folder, "pics.bin"), "x86");
    rmSync(folder, { recursive: true });
    for (const name of NAMES) {
      if (name === "readChips") continue;
      expect(file.can()).toBe(false);
      const error = await file.perform(name).catch((reason) => reason);
      expect(error).toMatchObject({
        code: "unsupported",
        message:
          name === "handled"
            ? "pics.bin has no guest that counts what it handles"
            : "pics.bin is a file: it can be read, not driven",
        hint: expect.stringContaining("kvm-irq create"),
      });
    }
  });

  it("that is the model has no irqfds and no guest, and says what has them", async () => {
    const source = new LocalSource(new ModelMachine(1));
    expect(source.can("setRouting")).toBe(true);
    expect(source.can("irqfd")).toBe(false);
    await expect(source.perform("irqfd", { action: { do: "list" } })).rejects.toMatchObject({
      message: "the software model has no irqfds",
      hint: expect.stringContaining("--backend kvm"),
    });
    expect(source.can("handled")).toBe(false);
    await expect(source.perform("handled", {})).rejects.toMatchObject({
      message: "a scratch VM of the software model has no guest that counts what it handles",
    });
  });
});

describe("waiting for a guest's handlers", () => {
  it("asks for their count and for nothing else", async () => {
    let count = 0;
    const source = new LocalSource(machine(() => count++));
    const read = vi.spyOn(source, "read");
    const train = { gsis: [4], count: 2, intervalMs: 0, widthMs: 0 };
    const results = await pulseHandled(source, train, 1000, new AbortController().signal);
    expect(results).toMatchObject([{ gsi: 4, count: 2, handled: 2 }]);
    expect(read).not.toHaveBeenCalled();
  });
});
