const UNITS = [
  ["s", 1e9],
  ["ms", 1e6],
  ["us", 1e3],
] as const;

/** A duration with a unit that leaves it short: "0", "850ns", "12.34us", "4.567ms". */
export function durationText(nanoseconds: number): string {
  if (nanoseconds === 0) return "0";
  const [unit, size] = UNITS.find(([, size]) => nanoseconds >= size) ?? ["ns", 1];
  return `${Number((nanoseconds / size).toPrecision(4))}${unit}`;
}
