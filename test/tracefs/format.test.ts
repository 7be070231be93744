import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { argsReader, parseEventFormat, parseFields } from "../../src/tracefs/format.ts";
import { SVM } from "../support/recorded-trace.ts";

const format = (fields: string) => `name: made_up\nID: 7\nformat:\n${fields}\nprint fmt: "x", REC->x\n`;
const field = (declaration: string, offset: number, size: number, signed = 0) =>
  `\tfield:${declaration};\toffset:${offset};\tsize:${size};\tsigned:${signed};\n`;

function read(fields: string, bytes: number[] | Buffer) {
  const view = new DataView(Uint8Array.from(bytes).buffer);
  return argsReader(parseEventFormat(format(fields)))(view, 0, view.byteLength);
}

describe("a kernel's own format files", () => {
  test("give names, ids, and the fields with their places", () => {
    const parsed = parseEventFormat(SVM.formats["kvm_set_irq"]!);
    expect(parsed).toMatchObject({ name: "kvm_set_irq", id: 1572 });
    expect(parsed.common.map(({ name }) => name)).toEqual([
      "common_type",
      "common_flags",
      "common_preempt_count",
      "common_pid",
    ]);
    expect(parsed.fields).toEqual([
      { name: "gsi", type: "unsigned int", offset: 8, size: 4, signed: false },
      { name: "level", type: "int", offset: 12, size: 4, signed: true },
      { name: "irq_source_id", type: "int", offset: 16, size: 4, signed: true },
    ]);
  });

  test("of the page header have a blank behind `field:`", () => {
    expect(parseFields(SVM.header_page).map(({ name, offset }) => [name, offset])).toEqual([
      ["timestamp", 0],
      ["commit", 8],
      ["overwrite", 8],
      ["data", 16],
    ]);
  });

  test("make one reading of equal records, and one of each that differs in anything", () => {
    const fields = field("u32 gsi", 8, 4) + field("u8 level", 12, 1) + field("u8 chip", 15, 1);
    const record = (gsi: number, level: number, chip: number) => [
      ...[1, 2, 3, 4, 5, 6, 7, gsi & 0xff, gsi & 0xff, gsi >> 8, 0, 0, level, 0, 0, chip],
    ];
    const reader = argsReader(parseEventFormat(format(fields)));
    const readAt = (bytes: number[]) => reader(new DataView(Uint8Array.from(bytes).buffer), 0, bytes.length);
    for (let round = 0; round < 2; round++) {
      for (let gsi = 0; gsi < 10_000; gsi++) {
        const [level, chip] = [gsi & 1, gsi % 3];
        expect(readAt(record(gsi, level, chip))).toEqual({ gsi, level, chip });
      }
    }
    expect(readAt(record(5, 1, 2))).toBe(readAt(record(5, 1, 2)));
    expect(readAt(record(5, 1, 3))).toEqual({ gsi: 5, level: 1, chip: 3 });
  });

  test("that are none are refused", () => {
    expect(() => parseEventFormat("nonsense")).toThrow("no name or ID");
  });
});

describe("a field is read by its declaration", () => {
  test.each([
    ["unsigned char a", 1, 0, [0xff], 255],
    ["signed char a", 1, 1, [0xff], -1],
    ["unsigned short a", 2, 0, [1, 2], 0x201],
    ["short a", 2, 1, [0xff, 0xff], -1],
    ["int a", 4, 1, [0xff, 0xff, 0xff, 0xff], -1],
    ["unsigned int a", 4, 0, [0xff, 0xff, 0xff, 0xff], 2 ** 32 - 1],
    ["__u64 a", 8, 0, [1, 0, 0, 0, 0, 0, 0, 0], 1],
    ["__u64 a", 8, 0, [0, 0, 0, 0, 0, 0, 0, 0x80], "0x8000000000000000"],
    ["long a", 8, 1, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], -1],
    ["bool a", 1, 0, [1], true],
    ["char a[4]", 4, 0, [0x68, 0x69, 0, 0x78], "hi"],
    ["u16 a[2]", 4, 0, [1, 0, 2, 0], [1, 2]],
  ] as const)("%s of %i bytes", (declaration, size, signed, bytes, value) => {
    expect(read(field(declaration, 0, size, signed), [...bytes])).toEqual({ a: value });
  });

  test("__data_loc counts from the record, __rel_loc from behind itself", () => {
    const text = [...Buffer.from("qemu\0")];
    const located = (from: number) => [from, 0, 5, 0];
    expect(read(field("__data_loc char[] name", 0, 4), [...located(4), ...text])).toEqual({ name: "qemu" });
    expect(read(field("__rel_loc char[] name", 0, 4), [...located(0), ...text])).toEqual({ name: "qemu" });
    expect(read(field("__data_loc u8[] bytes", 0, 4), [4, 0, 2, 0, 8, 9])).toEqual({ bytes: [8, 9] });
  });

  test("wherever the kernel has put it", () => {
    fc.assert(
      fc.property(fc.nat(40), fc.nat(0xffff_ffff), (offset, value) => {
        const bytes = Buffer.alloc(offset + 4);
        bytes.writeUInt32LE(value, offset);
        expect(read(field("unsigned int gsi", offset, 4), bytes)).toEqual({ gsi: value });
      }),
    );
  });
});
