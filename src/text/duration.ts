/** How long something takes, as it is typed and as it is shown. */

const UNITS_IN_MS: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** The milliseconds of `500us`, `10ms`, `2s`, `5m`, `1h` or `0`; nothing for text that is no such thing. */
export function parseDuration(text: string): number | undefined {
  const [, number, unit] = /^(\d+(?:\.\d+)?)(us|ms|s|m|h)$/.exec(text) ?? [];
  if (unit === undefined) return text === "0" ? 0 : undefined;
  return Number(number) * UNITS_IN_MS[unit]!;
}

/** A time in a sentence: `1.5 s`, `20 ms`. */
export function time(ms: number): string {
  if (ms < 1) return `${Math.round(ms * 1000)} us`;
  if (ms < 1000) return `${Number(ms.toFixed(1))} ms`;
  if (ms < 120_000) return `${Number((ms / 1000).toFixed(1))} s`;
  return ms < 7_200_000 ? `${Math.round(ms / 60_000)} min` : `${Math.round(ms / 3_600_000)} h`;
}

/** A measured time with four digits, in the unit that leaves it short: `0`, `850ns`, `12.34us`, `4.567ms`. */
export function durationText(nanoseconds: number): string {
  if (nanoseconds === 0) return "0";
  const [unit, size] = SHORT_UNITS.find(([, size]) => nanoseconds >= size) ?? ["ns", 1];
  return `${Number((nanoseconds / size).toPrecision(4))}${unit}`;
}

const SHORT_UNITS = [
  ["s", 1e9],
  ["ms", 1e6],
  ["us", 1e3],
] as const;
