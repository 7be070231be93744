import { spawn } from "node:child_process";
import { once } from "node:events";
import { describe, expect, it } from "vitest";
import { readStatus } from "../../../src/os/proc.ts";
import {
  findGadgets,
  hasStackRoom,
  isEnding,
  type Mapping,
  readMappings,
} from "../../../src/sources/attach/address-space.ts";
import { until } from "../../support/cli.ts";

function mapping(start: bigint, end: bigint, perms: string, name = ""): Mapping {
  return { start, end, perms, name };
}

describe("room on a stack", () => {
  const guarded = [mapping(0x1000n, 0x2000n, "---p"), mapping(0x2000n, 0x8000n, "rw-p")];

  it.each([
    ["above a guard", guarded, 0x7000n, true],
    ["above a guard, with too little left", guarded, 0x2fffn, false],
    ["of the main thread", [mapping(0x2000n, 0x8000n, "rw-p", "[stack]")], 0x7000n, true],
    ["on the heap", [mapping(0x2000n, 0x8000n, "rw-p", "[heap]")], 0x7000n, false],
    ["with other memory right below", [mapping(0x1000n, 0x2000n, "rw-p"), guarded[1]!], 0x7000n, false],
    ["with a guard that is further down", [mapping(0n, 0x1000n, "---p"), guarded[1]!], 0x7000n, false],
    ["that is not mapped", guarded, 0x9000n, false],
    ["that can't be written", [guarded[0]!, mapping(0x2000n, 0x8000n, "r--p")], 0x7000n, false],
  ])("%s", (_, mappings, address, expected) => {
    expect(hasStackRoom(mappings, address, 0x1000)).toBe(expected);
  });
});

describe("a process's own mappings and code", () => {
  it("hold a `syscall; ret` and a call of rt_sigreturn, in Node as in any program with a libc", () => {
    const mappings = readMappings(process.pid);
    expect(mappings.some(({ name, perms }) => name === "[stack]" && perms.startsWith("rw"))).toBe(true);
    const gadgets = findGadgets(process.pid, mappings)!;
    expect(gadgets.restorer).toBeDefined();
    const code = mappings.find(({ start, end }) => start <= gadgets.syscall && gadgets.syscall < end);
    expect(code?.perms).toMatch(/^r-x/);
  });
});

describe("a process that is ending", () => {
  it("has no mappings any more, although it is still there", async () => {
    // The shell becomes a program that never waits for its child.
    const parent = spawn("sh", ["-c", "sleep 1 & echo $!; exec sleep 60"], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    try {
      const [said] = await once(parent.stdout, "data");
      const zombie = Number(said);
      await until("its child has ended", () => readStatus(zombie)?.state === "Z");
      expect(readMappings(zombie)).toEqual([]);
      expect(isEnding(zombie)).toBe(true);
    } finally {
      parent.kill("SIGKILL");
    }
  });

  it("is not told of one that lives, and of one that is gone", () => {
    expect(isEnding(process.pid)).toBe(false);
    expect(isEnding(2 ** 22 + 1)).toBe(true);
  });
});
