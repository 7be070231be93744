import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { viewOf } from "../../src/abi/u64.ts";
import { parsePageLayout, scanPage } from "../../src/tracefs/page.ts";
import { eventsOf, SVM, SVM_LAYOUT } from "../support/recorded-trace.ts";

/** An entry of a page: its words behind the head, and the time since the one before. */
interface Entry {
  typeLen: number;
  delta: number;
  words: number[];
}

function page(start: bigint, entries: Entry[]): Buffer {
  const words = entries.flatMap(({ typeLen, delta, words }) => [delta * 32 + typeLen, ...words]);
  const bytes = Buffer.alloc(SVM_LAYOUT.size);
  bytes.writeBigUInt64LE(start, 0);
  bytes.writeUInt32LE(words.length * 4, 8);
  words.forEach((word, index) => {
    bytes.writeUInt32LE(word >>> 0, 16 + index * 4);
  });
  return bytes;
}

interface PageRecord {
  time: number;
  offset: number;
  length: number;
}

function recordsOf(bytes: Buffer, origin = 0n): PageRecord[] {
  const records: PageRecord[] = [];
  scanPage(viewOf(bytes), SVM_LAYOUT, origin, (time, offset, length) =>
    records.push({ time, offset, length }),
  );
  return records;
}

const times = (bytes: Buffer, origin?: bigint) => recordsOf(bytes, origin).map(({ time }) => time);
const record = (delta: number): Entry => ({ typeLen: 1, delta, words: [0] });

describe("a page of the ring buffer", () => {
  test("is laid out as the kernel's two header files say", () => {
    expect(SVM_LAYOUT).toMatchObject({ size: 4096, padding: 29, timeExtend: 30, timeStamp: 31 });
  });

  test("with other bits than known ones is refused", () => {
    const other = SVM.header_event.replace("27 bits", "26 bits");
    expect(() => parsePageLayout(SVM.header_page, other)).toThrow("27 bits");
    expect(() => parsePageLayout("", SVM.header_event)).toThrow('no "data"');
  });

  test("recorded from a real kernel has every event, in the order of time", () => {
    const events = eventsOf("ioapic-level");
    expect(events).toHaveLength(53);
    expect(events.slice(0, 4).map(({ event }) => event)).toEqual([
      "kvm_set_irq",
      "kvm_apic_accept_irq",
      "kvm_ioapic_set_irq",
      "kvm_pic_set_irq",
    ]);
  });

  test("adds up the deltas of its records", () => {
    expect(times(page(1000n, [record(5), record(7)]))).toEqual([1005, 1012]);
  });

  test("has long deltas in two parts", () => {
    const extend: Entry = { typeLen: 30, delta: 3, words: [2] };
    expect(times(page(0n, [extend, record(1)]))).toEqual([2 * 2 ** 27 + 4]);
  });

  test("has absolute time stamps, whose top bits are those of the time before", () => {
    const stamp: Entry = { typeLen: 31, delta: 9, words: [1] };
    expect(times(page(2n ** 60n, [stamp, record(0)]), 2n ** 60n)).toEqual([2 ** 27 + 9]);
  });

  test("counts from an origin to the nanosecond, however long the host has run", () => {
    const start = 2n ** 62n + 1n;
    expect(times(page(start + 5n, [record(2)]), start)).toEqual([7]);
  });

  test("passes over discarded events and ends at padding", () => {
    const discarded: Entry = { typeLen: 29, delta: 4, words: [8, 0] };
    const padding: Entry = { typeLen: 29, delta: 0, words: [0] };
    expect(times(page(0n, [discarded, record(1), padding, record(1)]))).toEqual([5]);
  });

  test("gives records of any length back where they are", () => {
    const lengths = fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: 30 });
    fc.assert(
      fc.property(lengths, (sizes) => {
        const entries = sizes.map((size) => ({
          typeLen: size <= 28 ? size : 0,
          delta: 1,
          words: [...(size <= 28 ? [] : [size * 4 + 4]), ...Array<number>(size).fill(size)],
        }));
        const bytes = page(0n, entries);
        const records = recordsOf(bytes);
        expect(records.map(({ length }) => length / 4)).toEqual(sizes);
        expect(records.map(({ offset }) => bytes.readUInt32LE(offset))).toEqual(sizes);
      }),
    );
  });
});
