import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { KvmIrqError } from "../../src/abi/error.ts";
import { Btf, type Field, parseSteps } from "../../src/os/btf.ts";
import { BtfBuilder } from "../support/btf.ts";
import { has } from "../support/commands.ts";

function sample() {
  const btf = new BtfBuilder();
  const int = btf.int("int", 4, { signed: true });
  const u8 = btf.int("unsigned char", 1);
  const bool = btf.type(1, "_Bool", 1, [], false, [4 * 2 ** 24 + 8]);
  const status = btf.struct("rtc_status", 8, [
    ["pending_eoi", int, 0],
    ["seen", bool, 32],
  ]);
  const named = btf.alias("typedef", btf.alias("const", status), "rtc_t");
  const low = btf.struct("", 4, [
    ["vector", u8, 0, 8],
    ["mode", u8, 8, 3],
    ["masked", u8, 15, 1],
  ]);
  const entry = btf.union("entry", 8, [
    ["bits", btf.int("u64", 8), 0],
    ["", low, 0],
  ]);
  btf.enum("reasons", [
    ["DISABLED", 0],
    ["ABSENT", 2],
  ]);
  btf.enum(
    "signs",
    [
      ["MINUS", 0xffff_ffff],
      ["PLUS", 1],
    ],
    true,
  );
  btf.enum64("wide", [
    ["HIGH", 1n << 40n],
    ["LOW", 3n],
  ]);
  const self = btf.size.types + 3;
  btf.struct("chip", 80, [
    ["status", named, 32],
    ["table", btf.array(entry, 3), 128],
    ["next", self - 0, 0],
  ]);
  return btf;
}

const of = (btf: Btf, path: string): Field | undefined => {
  const [type = "", ...rest] = path.split(".");
  return btf.field(type, parseSteps(rest.join(".")));
};

describe("a type of the kernel's", () => {
  const btf = new Btf(sample().bytes());

  it.each([
    ["chip.status.pending_eoi", { offset: 4, size: 4, kind: "int", signed: true }],
    ["chip.status.seen", { offset: 8, size: 1, kind: "bool" }],
    ["chip.status", { offset: 4, size: 8, kind: "struct", type: "rtc_status" }],
    ["chip.table", { offset: 16, size: 24, kind: "array", type: "entry", array: { count: 3, stride: 8 } }],
    ["chip.table[2].bits", { offset: 32, size: 8, kind: "int", signed: false }],
    ["chip.table[1].vector", { offset: 24, size: 1, bits: { offset: 0, size: 8 } }],
    ["chip.table[1].mode", { offset: 25, size: 1, bits: { offset: 0, size: 3 } }],
    ["entry.masked", { offset: 1, size: 1, bits: { offset: 7, size: 1 } }],
    ["rtc_t.pending_eoi", { offset: 0, size: 4 }],
    ["chip", { offset: 0, size: 80, kind: "struct" }],
  ])("has %s where its members, unions and arrays say", (path, field) => {
    expect(of(btf, path)).toMatchObject(field);
  });

  it.each(["chip.gone", "gone.status", "chip.table[3]", "chip.status[0]", "chip.status.seen.x", "reasons.x"])(
    "has no %s",
    (path) => expect(of(btf, path)).toBeUndefined(),
  );

  it("that is an enum has its values by name, signed ones and those of 64 bits too", () => {
    expect([...btf.enumeration("reasons")!]).toEqual([
      ["DISABLED", 0],
      ["ABSENT", 2],
    ]);
    expect([...btf.enumeration("signs")!]).toEqual([
      ["MINUS", -1],
      ["PLUS", 1],
    ]);
    expect([...btf.enumeration("wide")!]).toEqual([
      ["HIGH", 2 ** 40],
      ["LOW", 3],
    ]);
    expect(btf.enumeration("chip")).toBeUndefined();
    expect(btf.enumeration("gone")).toBeUndefined();
  });

  it("may have bit-fields as they were before members had a flag for them", () => {
    const old = new BtfBuilder();
    const threeBits = old.int("unsigned int", 4, { bits: 3, offset: 2 });
    old.struct("old", 4, [["field", threeBits, 8]]);
    expect(of(new Btf(old.bytes()), "old.field")).toMatchObject({
      offset: 1,
      size: 1,
      bits: { offset: 2, size: 3 },
    });
  });
});

describe("a module's types", () => {
  const base = sample();
  const kernel = new Btf(base.bytes());
  const split = new BtfBuilder(base.size);
  split.struct("kvm", 96, [["chip", base.size.types, 64]]);
  const module = new Btf(split.bytes(), kernel);

  it("go on from the kernel's: numbers, strings and all", () => {
    expect(of(module, "kvm.chip.status.pending_eoi")).toMatchObject({ offset: 12, size: 4 });
    expect(of(module, "chip.status.pending_eoi")).toMatchObject({ offset: 4 });
    expect(of(kernel, "kvm.chip")).toBeUndefined();
  });
});

describe("BTF that is damaged", () => {
  const bytes = sample().bytes();
  const paths = ["chip.status.pending_eoi", "chip.table[2].mode", "chip.next.next", "entry.none", "rtc_t"];

  function ask(damaged: Buffer): void {
    try {
      const btf = new Btf(damaged);
      for (const path of paths) of(btf, path);
      for (const name of ["reasons", "wide", "chip"]) btf.enumeration(name);
    } catch (error) {
      if (!(error instanceof KvmIrqError)) throw error;
      expect(error.exitStatus).toBe(3);
    }
  }

  it("gives answers or an error, wherever it is cut off or changed", () => {
    const change = fc.tuple(fc.nat(bytes.length - 1), fc.nat(255));
    fc.assert(
      fc.property(
        fc.array(change, { maxLength: 8 }),
        fc.nat(bytes.length),
        fc.boolean(),
        (changes, cut, whole) => {
          const damaged = Buffer.from(bytes);
          for (const [at, value] of changes) damaged[at] = value;
          ask(whole ? damaged : damaged.subarray(0, cut));
        },
      ),
      { numRuns: 3000 },
    );
  });

  it("gives an error for structures that hold each other without names", () => {
    const knot = new BtfBuilder();
    // Each looks through the next one twenty times: without a limit, 20^30 members.
    for (let id = 1; id <= 30; id++)
      knot.struct(
        `s${id}`,
        8,
        Array.from({ length: 20 }, () => ["", id + 1, 0] as [string, number, number]),
      );
    knot.struct("end", 8, []);
    expect(() => of(new Btf(knot.bytes()), "s1.gone")).toThrow(/without an end/);
    const loop = new BtfBuilder();
    loop.alias("typedef", 2, "loop");
    loop.alias("const", 1);
    expect(() => of(new Btf(loop.bytes()), "loop.gone")).toThrow(/circle/);
  });

  it.each([
    ["nothing", Buffer.alloc(0)],
    ["zeros", Buffer.alloc(100)],
    ["a header alone", bytes.subarray(0, 24)],
  ])("is an error of status 3: %s", (_, damaged) => {
    expect(() => new Btf(damaged)).toThrow(
      expect.objectContaining({ code: "bpf-unavailable", exitStatus: 3 }),
    );
  });
});

const STRUCTURES = `
#include <stdio.h>
#include <stddef.h>
typedef unsigned long long u64;
struct inner { char tag; union { u64 wide; struct { int low, high; }; }; short list[5]; };
struct outer { volatile const struct inner *first; struct inner many[4]; void (*call)(int); _Bool flag; enum { A, B } e; };
struct outer object;
#define SHOW(t, path, m) printf("%s %zu %zu\\n", path, offsetof(struct t, m), sizeof(((struct t *)0)->m))
int main(void) {
  SHOW(inner, "inner.wide", wide); SHOW(inner, "inner.high", high); SHOW(inner, "inner.list", list);
  SHOW(inner, "inner.list[3]", list[3]); SHOW(outer, "outer.many", many);
  SHOW(outer, "outer.many[3].low", many[3].low); SHOW(outer, "outer.call", call); SHOW(outer, "outer.flag", flag);
  SHOW(outer, "outer.e", e); SHOW(outer, "outer.first", first);
}`;

describe.skipIf(!has("gcc") || !has("objcopy"))("what the C compiler says of structures", () => {
  it("is what their BTF gives", () => {
    const folder = mkdtempSync(join(tmpdir(), "kvm-irq-btf-"));
    try {
      writeFileSync(join(folder, "a.c"), STRUCTURES);
      const run = (program: string, ...args: string[]) =>
        execFileSync(program, args, { cwd: folder, encoding: "utf8" });
      run("gcc", "-gbtf", "-o", "a.out", "a.c");
      run("objcopy", "--dump-section", ".BTF=btf", "a.out");
      const btf = new Btf(readFileSync(join(folder, "btf")));
      const lines = run(join(folder, "a.out")).trim().split("\n");
      expect(lines).toHaveLength(10);
      for (const line of lines) {
        const [path = "", offset, size] = line.split(" ");
        expect(of(btf, path), path).toMatchObject({ offset: Number(offset), size: Number(size) });
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

const VMLINUX = "/sys/kernel/btf/vmlinux";
describe.skipIf(!existsSync(VMLINUX))("this kernel's own BTF", () => {
  const btf = existsSync(VMLINUX) ? new Btf(readFileSync(VMLINUX)) : undefined;

  it("has the task's fields, of the sizes that /proc shows them in", () => {
    expect(of(btf!, "task_struct.comm")).toMatchObject({ size: 16, kind: "array" });
    expect(of(btf!, "task_struct.files")).toMatchObject({ size: 8, kind: "pointer", type: "files_struct" });
    expect(of(btf!, "pid.numbers[0].ns")).toMatchObject({ kind: "pointer", type: "pid_namespace" });
    expect(of(btf!, "task_struct.no_such_field")).toBeUndefined();
    expect(btf!.enumeration("pid_type")!.get("PIDTYPE_TGID")).toBe(1);
  });
});
