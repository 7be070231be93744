import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { KernelMemory } from "../../../src/os/bpf.ts";
import { KernelTypes } from "../../../src/sources/kernel/types.ts";
import {
  type KnownTypes,
  parseKnown,
  readKnown,
  writeKnown,
} from "../../../src/sources/kernel/types-cache.ts";
import { noKernelMemory } from "../../support/kernel-memory.ts";

const unknown = (): KnownTypes => ({ kernel: undefined, fields: {}, enums: {} });
const hasBtf = existsSync("/sys/kernel/btf/vmlinux");

describe.skipIf(!hasBtf)("the kernel's types", () => {
  it("are found along pointers, which are followed by the name of what they point to", () => {
    const types = new KernelTypes(unknown());
    const { through, ...field } = types.known("task_struct.files->fdt->max_fds");
    expect(through).toEqual([
      types.known("task_struct.files").offset,
      types.known("files_struct.fdt").offset,
    ]);
    expect(field).toEqual({ ...types.known("fdtable.max_fds"), through: undefined });
    expect(types.known("task_struct").size).toBeGreaterThan(1000);
  });

  it.each([
    "task_struct.gone",
    "task_struct.files->gone",
    "task_struct.comm->x",
    "gone_struct.x",
    "task_struct.files.fdt",
  ])("have no %s", (path) => {
    const types = new KernelTypes(unknown());
    expect(types.field(path)).toBeUndefined();
    expect(() => types.known(path)).toThrow(expect.objectContaining({ code: "bpf-unavailable" }));
  });

  it("have the names of enums", () => {
    const types = new KernelTypes(unknown());
    expect(types.enumeration("pid_type")?.get("PIDTYPE_TGID")).toBe(1);
    expect(types.enumeration("gone_type")).toBeUndefined();
  });
});

describe.skipIf(noKernelMemory !== undefined)("a field in kernel memory", () => {
  it("is read with the pointers on the way, as its type has it", () => {
    const types = new KernelTypes(unknown());
    using memory = new KernelMemory();
    const batch = memory.batch();
    const tgid = types.read(batch, "current", "task_struct.group_leader->tgid")!;
    const exec = types.read(batch, "current", "task_struct.in_execve")!;
    const prio = types.read(batch, "current", "task_struct.signal->oom_score_adj")!;
    const none = types.read(batch, 0n, "task_struct.files->fdt")!;
    expect(tgid.number).toBeUndefined();
    batch.run();
    expect(tgid.number).toBe(process.pid);
    expect(exec.field.bits?.size).toBe(1);
    expect(exec.number).toBe(0);
    expect(prio.number).toBe(Number(readFileSync("/proc/self/oom_score_adj", "utf8")));
    expect([none.number, none.unsigned, none.bytes]).toEqual([undefined, undefined, undefined]);
    expect(types.read(batch, "current", "task_struct.gone")).toBeUndefined();
  });
});

describe("what is kept of the kernel's types", () => {
  let folder: string;
  const file = () => join(folder, ".kernel-types");
  const known = (): KnownTypes => ({
    kernel: readKnown(folder).kernel,
    fields: {
      "kvm.arch": {
        offset: 3,
        size: 8,
        kind: "int",
        type: "",
        signed: false,
        bits: { offset: 1, size: 2 },
        array: { count: 0, stride: 8 },
        through: [1],
      },
      "kvm.gone": null,
    },
    enums: { some: { A: 1, B: -1 }, none: null },
  });

  beforeEach(() => {
    folder = join(mkdtempSync(join(tmpdir(), "kvm-irq-types-")), "kvm-irq");
  });
  afterEach(() => rmSync(join(folder, ".."), { recursive: true }));

  it("comes back as it was written, in a file of this user's alone, and nothing else is left there", () => {
    expect(readKnown(folder)).toMatchObject({ fields: {}, enums: {} });
    writeKnown(known(), folder);
    expect(readKnown(folder)).toEqual(known());
    expect(lstatSync(file()).mode & 0o777).toBe(0o600);
    writeKnown({ ...known(), enums: {} }, folder);
    expect(readKnown(folder)).toEqual({ ...known(), enums: {} });
    expect(readdirSync(folder)).toEqual([".kernel-types"]);
  });

  it.skipIf(!hasBtf)(
    "is used instead of the kernel's own description, and written when there is more",
    () => {
      const kept = known();
      const types = new KernelTypes(kept);
      expect(types.field("kvm.arch")).toEqual(kept.fields["kvm.arch"]);
      expect(types.field("kvm.gone")).toBeUndefined();
      expect([...types.enumeration("some")!]).toEqual([
        ["A", 1],
        ["B", -1],
      ]);
      expect(types.known("task_struct.comm")).toMatchObject({ size: 16 });
    },
  );

  it("is none when it is of another kernel or version, or damaged", () => {
    writeKnown(known(), folder);
    const text = readFileSync(file(), "utf8");
    const { kernel = "" } = known();
    expect(parseKnown(text, kernel)).toEqual(known());
    expect(parseKnown(text, `${kernel}0`)).toBeUndefined();
    for (const [from, to] of [
      ["1 ", "2 "],
      ["3+8", "-3+8"],
      ["3+8", "1e9+8"],
      ["3+8", "16777217+8"],
      ["int", "number"],
      ["->1", "->x"],
      ["->1", "1"],
      ["B=-1", "B=1.5"],
      ["B=-1", "B"],
      ["kvm.gone -", "kvm.gone 7"],
      ["field", "fields"],
      ["end\n", ""],
    ] as const) {
      expect(text).toContain(from);
      expect(parseKnown(text.replace(from, to), kernel), to).toBeUndefined();
    }
    writeFileSync(file(), text.slice(0, -5));
    expect(readKnown(folder).fields).toEqual({});
    writeFileSync(file(), Buffer.alloc(2 ** 21, " "));
    expect(readKnown(folder).fields).toEqual({});
    writeKnown(known(), folder);
    expect(readKnown(folder)).toEqual(known());
  });

  it("is none, and no error, whatever the file has", () => {
    writeKnown(known(), folder);
    const text = readFileSync(file());
    const change = fc.tuple(fc.nat(text.length - 1), fc.nat(255));
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), fc.nat(text.length), (changes, cut) => {
        const damaged = Buffer.from(text);
        for (const [at, value] of changes) damaged[at] = value;
        writeFileSync(file(), damaged.subarray(0, cut));
        const { fields } = readKnown(folder);
        for (const field of Object.values(fields)) expect(field?.offset ?? 0).toBeGreaterThanOrEqual(0);
      }),
      { numRuns: 300 },
    );
  });

  it("is none where others could have written it: a link, an open mode, an open folder, another's", () => {
    writeKnown(known(), folder);
    const text = readFileSync(file());
    chmodSync(file(), 0o644);
    expect(readKnown(folder).fields).toEqual({});
    rmSync(file());
    writeFileSync(join(folder, "elsewhere"), text, { mode: 0o600 });
    symlinkSync("elsewhere", file());
    expect(readKnown(folder).fields).toEqual({});
    writeKnown(known(), folder);
    expect(lstatSync(file()).isSymbolicLink()).toBe(false);
    expect(readKnown(folder)).toEqual(known());
    chmodSync(folder, 0o777);
    expect(readKnown(folder).fields).toEqual({});
    const before = readFileSync(file());
    writeKnown({ ...known(), enums: {} }, folder);
    expect(readFileSync(file())).toEqual(before);
  });

  it("is written again after a process that was killed while it wrote", () => {
    writeKnown(known(), folder);
    rmSync(file());
    symlinkSync("/nowhere", `${file()}.tmp`);
    writeKnown(known(), folder);
    expect(readdirSync(folder)).toEqual([]);
    writeKnown(known(), folder);
    expect(readKnown(folder)).toEqual(known());
  });

  it("is left where it can't be kept: no folder, or something else in its place", () => {
    mkdirSync(folder, { mode: 0o700 });
    mkdirSync(file());
    expect(readKnown(folder).fields).toEqual({});
    writeKnown(known(), folder);
    expect(readdirSync(folder)).toEqual([".kernel-types"]);
    writeKnown(known(), "/proc/kvm-irq");
    expect(readKnown("/proc/kvm-irq").fields).toEqual({});
  });
});
