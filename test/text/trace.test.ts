import { expect, test } from "vitest";
import { stamp } from "../../src/text/trace.ts";

test("a time is rounded to microseconds as toFixed rounds it", () => {
  const times = [
    0,
    1,
    499,
    500,
    501,
    999,
    1500,
    2500,
    999_999_499,
    999_999_500,
    999_999_501,
    1e9 - 1,
    -5,
    -1500,
  ];
  const large = [1e15 - 1, 1e15 - 501, 1e15, 1e15 + 501, 2 ** 53, 123_456_789_012_345];
  const many = Array.from({ length: 20_000 }, (_, index) => Math.floor((index * 2_654_435_761_123) % 1e15));
  for (const time of [...times, ...large, ...many]) expect(stamp(time)).toBe((time / 1e9).toFixed(6));
});
