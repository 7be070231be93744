import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { type Batch, KernelMemory, type KernelRead } from "../../src/os/bpf.ts";
import { whenNotInterrupted } from "../../src/os/bpf-load.ts";
import { Btf, parseSteps } from "../../src/os/btf.ts";
import { PROGRAM } from "../support/cli.ts";
import { isOfUtilLinux } from "../support/commands.ts";
import { noKernelMemory } from "../support/kernel-memory.ts";

describe.skipIf(noKernelMemory !== undefined)("kernel memory", () => {
  const btf = noKernelMemory ? undefined : new Btf(readFileSync("/sys/kernel/btf/vmlinux"));
  const at = (path: string) => btf!.field("task_struct", parseSteps(path))!.offset;
  const tasks = () => at("tasks");
  /** The pid of each process, from one in the list to the one before it. */
  const pids = (batch: Batch, limit: number): KernelRead =>
    batch.list(batch.read("current", at("group_leader"), 8), tasks(), {
      length: 4,
      delta: at("tgid") - tasks(),
      limit,
    });
  const numbers = ({ bytes }: KernelRead) =>
    Array.from({ length: bytes!.length / 4 }, (_, index) => bytes!.readUInt32LE(4 * index));

  it("is read from the task that asks, along pointers that were read before", () => {
    using memory = new KernelMemory();
    const batch = memory.batch();
    const leader = batch.read("current", at("group_leader"), 8);
    const tgid = batch.read(leader, at("tgid"), 4);
    batch.run();
    expect(tgid.value).toBe(BigInt(process.pid));
    const later = memory.batch();
    const again = [later.read(leader, at("tgid"), 4), later.read(leader.value, at("tgid"), 4)];
    later.run();
    expect(again.map(({ value }) => value)).toEqual([tgid.value, tgid.value]);
  });

  it("that is not there is said, with all that hangs on it, and the rest is read", () => {
    using memory = new KernelMemory();
    const batch = memory.batch();
    const nothing = batch.read(0n, 8, 8);
    const behind = batch.read(nothing, -16, 8);
    const list = batch.list(nothing, 0, { length: 8, delta: 0, limit: 10 });
    const user = batch.read(0x5555_0000_0000n, 0, 8);
    const tgid = batch.read("current", at("tgid"), 4);
    batch.run();
    expect([nothing, behind, list, user].map(({ bytes }) => bytes)).toEqual(Array(4).fill(undefined));
    expect(nothing.value).toBe(0n);
    expect(tgid.value).toBe(BigInt(process.pid));
  });

  it("is read along a list, up to its limit", () => {
    using memory = new KernelMemory();
    const before = readdirSync("/proc").filter((pid) => Number(pid) > 0 && Number(pid) !== process.pid);
    const batch = memory.batch();
    const [all, three, one] = [pids(batch, 100_000), pids(batch, 3), pids(batch, 1)];
    batch.run();
    const found = new Set(numbers(all));
    expect(all.more).toBe(false);
    // Processes come and go; those that were there before and still are have to be found.
    expect(before.filter((pid) => existsSync(`/proc/${pid}`) && !found.has(Number(pid)))).toEqual([]);
    expect([three, one].map(({ more, bytes }) => [more, bytes?.length])).toEqual([
      [true, 12],
      [true, 4],
    ]);
  });

  it("is read in as many runs as it takes: 6,000 reads of up to 16,000 bytes, each in its place", () => {
    using memory = new KernelMemory();
    const batch = memory.batch();
    const leader = batch.read("current", at("group_leader"), 8);
    const reads = Array.from({ length: 6000 }, (_, index) =>
      batch.read(leader, at("tgid"), index % 50 === 7 ? 16_000 : 4),
    );
    const list = pids(batch, 100_000);
    batch.run();
    const small = reads.filter(({ length }) => length === 4);
    expect(new Set(small.map(({ value }) => value))).toEqual(new Set([BigInt(process.pid)]));
    // What was read beyond the task is whatever is there, if anything is.
    const large = reads.filter(({ bytes, length }) => length !== 4 && bytes !== undefined);
    expect(large.every(({ bytes }) => bytes!.readUInt32LE(0) === process.pid)).toBe(true);
    expect(numbers(list)).toContain(process.ppid);
  });

  it("leaves no descriptor open, and none that a child would get", () => {
    const open = () => readdirSync("/proc/self/fd").filter((fd) => isBpf(fd));
    const before = open();
    const memory = new KernelMemory();
    const added = open().filter((fd) => !before.includes(fd));
    expect(added).toHaveLength(2);
    for (const fd of added)
      expect(
        Number.parseInt(/flags:\s*(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"))![1]!, 8) &
          0o2000000,
      ).not.toBe(0);
    memory.close();
    memory.close();
    expect(open()).toEqual(before);
  });

  it("is refused to a user without the capabilities, in words and with a hint", () => {
    process.seteuid!(65534);
    try {
      expect(() => new KernelMemory()).toThrow(
        expect.objectContaining({
          code: "bpf-unavailable",
          exitStatus: 3,
          message: "kernel memory can't be read: no permission to load a BPF program",
          hint: expect.stringContaining("CAP_BPF and CAP_PERFMON"),
        }),
      );
    } finally {
      process.seteuid!(0);
    }
  });

  it.skipIf(!isOfUtilLinux("setpriv")).each(["bpf", "perfmon"])(
    "is refused as well to root without CAP_%s alone",
    (cap) => {
      const dropped = `-sys_admin,-${cap}`;
      const args = ["--bounding-set", dropped, "--inh-caps", dropped, PROGRAM, "doctor", "--json"];
      const { checks } = JSON.parse(spawnSync("setpriv", args, { encoding: "utf8" }).stdout);
      const check = (id: string) => checks.find((one: { id: string }) => one.id === id);
      expect(check("capabilities").what).toBe(`this user lacks CAP_${cap.toUpperCase()}`);
      expect(check("bpf").what).toBe("kernel memory can't be read: no permission to load a BPF program");
    },
  );
});

describe("a program's load", () => {
  it("is tried again while signals interrupt it, and not for ever", () => {
    const results = [11, 11, 11, 0, 11].map((errno) => ({ value: errno === 0 ? 7 : -1, errno }));
    expect(whenNotInterrupted(() => results.shift()!)).toEqual({ value: 7, errno: 0 });
    expect(results).toHaveLength(1);
    expect(whenNotInterrupted(() => ({ value: -1, errno: 1 }))).toEqual({ value: -1, errno: 1 });
    expect(whenNotInterrupted(() => ({ value: -1, errno: 11 }))).toEqual({ value: -1, errno: 11 });
  });
});

function isBpf(fd: string): boolean {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`).startsWith("anon_inode:bpf-");
  } catch {
    return false;
  }
}
