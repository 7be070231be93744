import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { chainsOf } from "../../src/arch/x86/lives/chains.ts";
import { distributionOf, histogramText, statisticsOf } from "../../src/lives/statistics.ts";
import { eventsOf } from "../support/recorded-trace.ts";
import { pic, trace, up } from "../support/trace-events.ts";

describe("a distribution", () => {
  test("has the nearest ranks", () => {
    const durations = Array.from({ length: 200 }, (_, index) => index + 1);
    expect(distributionOf(durations)).toMatchObject({ count: 200, min: 1, median: 100, p99: 198, max: 200 });
  });

  test("puts durations into buckets of powers of two, without gaps", () => {
    expect(distributionOf([1024, 1500, 4096]).histogram).toEqual([
      { from: 1024, count: 2 },
      { from: 2048, count: 0 },
      { from: 4096, count: 1 },
    ]);
    expect(distributionOf([0]).histogram).toEqual([{ from: 1, count: 1 }]);
  });

  test("loses no duration, and its figures are durations that occurred", () => {
    const durations = fc.array(fc.nat(2 ** 31 - 1), { minLength: 1 });
    fc.assert(
      fc.property(durations, (given) => {
        const { count, min, median, p99, max, histogram } = distributionOf(given);
        expect(histogram.reduce((sum, bucket) => sum + bucket.count, 0)).toBe(count);
        expect([...given].sort((one, other) => one - other)).toEqual(expect.arrayContaining([median, p99]));
        expect([min, median, p99, max]).toEqual([min, median, p99, max].sort((one, other) => one - other));
        expect([min, max]).toEqual([Math.min(...given), Math.max(...given)]);
      }),
    );
  });

  test("of many durations is counted in all, exact at its ends, and its ranks are within 0.4 %", () => {
    const random = fc.sample(fc.integer({ min: 1, max: 2 ** 40 }), { numRuns: 20_000, seed: 10 });
    for (const durations of [random, random.map((duration) => duration % 5000)]) {
      const sorted = [...durations].sort((one, other) => one - other);
      const { count, min, median, p99, max, histogram } = distributionOf(durations);
      expect([count, min, max]).toEqual([20_000, sorted[0], sorted.at(-1)]);
      for (const [found, exact] of [
        [median, sorted[9999]!],
        [p99, sorted[19_799]!],
      ] as const) {
        expect(Math.abs(found - exact)).toBeLessThanOrEqual(exact * 0.004);
      }
      expect(histogram.reduce((sum, bucket) => sum + bucket.count, 0)).toBe(20_000);
      for (const { from, count } of histogram) {
        const least = from === 1 ? 0 : from;
        expect(count).toBe(sorted.filter((one) => one >= least && one < 2 * from).length);
      }
    }
  });

  test("is a row of bars as text, blank where there is none", () => {
    expect(histogramText(distributionOf([1, 2, 2, 8, 8, 8, 8]).histogram)).toBe("▂▄ █");
  });
});

describe("statistics of chains", () => {
  test("count the step from each step to the next, for each line and vector", () => {
    const [level, ...others] = statisticsOf(chainsOf(eventsOf("ioapic-level")));
    expect(others).toEqual([]);
    expect(level).toMatchObject({ gsi: 10, vector: 58, route: "ioapic", complete: 11, unfinished: 0 });
    expect(level!.between.map(({ from, to, times }) => [from, to, times.count])).toEqual([
      ["raised", "accepted", 1],
      ["accepted", "injected", 11],
      ["injected", "eoi", 11],
      ["eoi", "acknowledged", 11],
    ]);
    expect(level!.total!.count).toBe(11);
  });

  test("come in the order of lines, and without a total where nothing was completed", () => {
    const all = statisticsOf(chainsOf(trace(up(5), pic(5), up(4), pic(4, { imr: 0xff }))));
    expect(all.map(({ gsi, route, unfinished, total }) => [gsi, route, unfinished, total])).toEqual([
      [4, "none", 1, null],
      [5, "pic", 1, null],
    ]);
  });
});
