import { closeSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { ERRNO } from "../../../src/abi/errno.ts";
import { NativeBuffer } from "../../../src/os/libc.ts";
import { Steps } from "../../../src/sources/attach/steps.ts";

const [NR_DUP, NR_GETPID, NR_CLOSE] = [32, 39, 3];

function native(text: string): NativeBuffer {
  const buffer = new NativeBuffer(text.length);
  buffer.bytes.write(text, "latin1");
  return buffer;
}

describe("steps", () => {
  const path = join(tmpdir(), `kvm-irq-steps-${process.pid}`);
  writeFileSync(path, "0123456789");
  const fd = openSync(path, "r+");
  afterAll(() => {
    closeSync(fd);
    rmSync(path);
  });

  it("are done in their order, with all their arguments, and give the place behind the last", () => {
    const [there, here] = [native("abc"), new NativeBuffer(4)];
    const steps = new Steps();
    steps.read(fd, here.address, 4, 2);
    steps.write(fd, there.address, 3, 5);
    steps.add(NR_GETPID, []);
    expect(steps.run(0)).toBe(3);
    expect(here.bytes.toString()).toBe("2345");
    expect(readFileSync(path, "latin1")).toBe("01234abc89");
    expect([0, 1, 2].map((step) => steps.errno(step))).toEqual([0, 0, 0]);
    writeFileSync(path, "0123456789");
  });

  it("end at one that the kernel refuses, and go on behind it when that is asked for", () => {
    const here = new NativeBuffer(2);
    const steps = new Steps();
    steps.add(NR_GETPID, []);
    steps.add(NR_DUP, [1_000_000]);
    steps.read(fd, here.address, 2, 0);
    expect(steps.run(0)).toBe(1);
    expect(steps.errno(1)).toBe(ERRNO.EBADF);
    expect([...here.bytes]).toEqual([0, 0]);
    expect(steps.at).toBe(1);
    expect(steps.run(2)).toBe(3);
    expect(here.bytes.toString()).toBe("01");
  });

  it("end at a file that gives less than all", () => {
    const here = new NativeBuffer(8);
    const steps = new Steps();
    steps.read(fd, here.address, 8, 6);
    steps.add(NR_CLOSE, [1_000_000]);
    expect(steps.run(0)).toBe(0);
    expect(steps.errno(0)).toBe(0);
    expect(here.bytes.toString("latin1", 0, 4)).toBe("6789");
  });

  it.each([
    ["4567", 1],
    ["4568", 0],
    ["3567", 0],
  ])("end unless what was read is the same as what is expected: %s", (expected, place) => {
    const here = new NativeBuffer(4);
    const steps = new Steps();
    steps.read(fd, here.address, 4, 4, native(expected).address);
    expect(steps.run(0)).toBe(place);
    expect(here.bytes.toString()).toBe("4567");
  });

  it("can be done in part, and leave those behind as they were", () => {
    const here = new NativeBuffer(1);
    const steps = new Steps();
    steps.read(fd, here.address, 1, 3);
    steps.read(fd, here.address, 1, 7);
    const second = steps.call(1);
    expect(steps.run(0, 1)).toBe(1);
    expect(here.bytes.toString()).toBe("3");
    expect(steps.call(1)).toEqual(second);
    expect(steps.run(1)).toBe(2);
    expect(here.bytes.toString()).toBe("7");
  });
});
