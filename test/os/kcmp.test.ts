import { closeSync, openSync } from "node:fs";
import { expect, it } from "vitest";
import { distinct, distinctFiles, sameFile } from "../../src/os/kcmp.ts";

it("takes one descriptor of each file, the smallest, in n log n comparisons", () => {
  const fds = Array.from({ length: 2500 }, (_, n) => n);
  // 1250 files in an order of their own, each with two descriptors.
  const place = (fd: number) => ((fd % 1250) * 7919) % 1250;
  let comparisons = 0;
  const order = (a: number, b: number) => {
    comparisons++;
    return place(a) - place(b);
  };
  expect(distinct(fds, order)).toEqual(fds.slice(0, 1250));
  expect(comparisons).toBeLessThan(2500 * Math.log2(2500) + 2500);
});

it("takes all for different where that can't be asked", () => {
  expect(distinct([3, 4, 9], () => Number.NaN)).toEqual([3, 4, 9]);
});

it("asks the kernel which descriptors are one open file", () => {
  const [one, other] = [openSync("/dev/null", "r"), openSync("/dev/null", "r")];
  const { pid } = process;
  expect(sameFile({ pid, fd: one }, { pid, fd: one })).toBe(true);
  expect(sameFile({ pid, fd: one }, { pid, fd: other })).toBe(false);
  expect(distinctFiles(pid, [one, other])).toEqual([one, other]);
  closeSync(one);
  closeSync(other);
});
