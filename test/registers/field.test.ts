import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  bitSet,
  bits,
  flag,
  list,
  openWord,
  optional,
  record,
  sparseWords,
  u8,
  u32,
  word,
} from "../../src/registers/field.ts";
import { struct } from "../../src/registers/struct.ts";

const blank = (size = 8) => new DataView(new ArrayBuffer(size));

describe("bits of a 64-bit word", () => {
  it("are read where they are, and written without a change to those around them", () => {
    const place = fc
      .tuple(fc.integer({ min: 0, max: 63 }), fc.integer({ min: 1, max: 53 }))
      .filter(([from, count]) => from + count <= 64);
    const word64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
    fc.assert(
      fc.property(place, word64, word64, ([from, count], before, value) => {
        const mask = ((1n << BigInt(count)) - 1n) << BigInt(from);
        const own = (value << BigInt(from)) & mask;
        const view = blank();
        view.setBigUint64(0, before, true);
        const field = bits(from, count);
        expect(BigInt(field.read(view, 0))).toBe((before & mask) >> BigInt(from));
        field.write(view, 0, Number(own >> BigInt(from)));
        expect(view.getBigUint64(0, true)).toBe((before & ~mask) | own);
      }),
    );
  });

  it("of which one alone is true or false", () => {
    const view = blank();
    flag(40).write(view, 0, true);
    expect(view.getBigUint64(0, true)).toBe(1n << 40n);
    expect([39, 40, 41].map((bit) => flag(bit).read(view, 0))).toEqual([false, true, false]);
  });
});

describe("words", () => {
  it("stand for the numbers of their places", () => {
    const field = word(bits(4, 2), ["none", "some", "most", "all"]);
    const view = blank();
    field.write(view, 0, "most");
    expect([view.getUint8(0), field.read(view, 0)]).toEqual([0x20, "most"]);
  });

  it("of an open list have a name for every number", () => {
    const field = openWord(u32(0), ["off", "on"]);
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 32 - 1 }), (number) => {
        const view = blank();
        view.setUint32(0, number, true);
        const name = field.read(view, 0);
        expect(name).toBe(number < 2 ? ["off", "on"][number] : `unknown-${number}`);
        const back = blank();
        field.write(back, 0, name);
        expect(back.getUint32(0, true)).toBe(number);
      }),
    );
  });
});

describe("a structure", () => {
  const entry = record(0, { id: u8(0), spare: optional(u8(1)) });
  const table = struct("table", 8, { count: u32(0), entries: list(4, 2, 2, entry) });

  it("leaves out optional fields that are zero, and writes them as zero", () => {
    const bytes = Uint8Array.of(1, 0, 0, 0, 7, 0, 8, 9);
    const state = table.decode(bytes);
    expect(state).toEqual({ count: 1, entries: [{ id: 7 }, { id: 8, spare: 9 }] });
    expect(table.encode(state)).toEqual(bytes);
  });

  it("takes no fewer bytes than it has, and does not look at those behind it", () => {
    expect(() => table.decode(new Uint8Array(7))).toThrow(RangeError);
    expect(table.decode(new Uint8Array(9).fill(3, 8)).count).toBe(0);
  });

  it("is found wherever it begins in its buffer", () => {
    const room = new Uint8Array(20);
    table.put(room.subarray(11), { count: 0x0102, entries: [{ id: 1 }, { id: 2, spare: 3 }] });
    expect([...room.subarray(11, 19)]).toEqual([2, 1, 0, 0, 1, 0, 2, 3]);
    expect(table.decode(room.subarray(11)).entries[1]).toEqual({ id: 2, spare: 3 });
  });
});

describe("sets and words without a name", () => {
  it("keep every bit through lists of numbers", () => {
    const field = bitSet(0, 2, 4);
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 8, maxLength: 8 }), (bytes) => {
        const numbers = field.read(new DataView(Uint8Array.from(bytes).buffer), 0);
        expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
        const back = blank();
        field.write(back, 0, numbers);
        expect(new Uint8Array(back.buffer)).toEqual(bytes);
      }),
    );
  });

  it("name only the words that are not zero", () => {
    const field = sparseWords([0, 4]);
    const view = blank();
    view.setUint32(4, 0x99, true);
    expect(field.read(view, 0)).toEqual({ "0x004": 0x99 });
  });
});
