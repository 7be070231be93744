import { printable } from "../abi/printable.ts";
import type { Wave } from "../lives/waves.ts";
import type { TraceHeader, TraceSummary } from "../tracefs/event.ts";

/** Bits of a bus: a vector's. */
const BUS_BITS = 8;

/**
 * Waves as a value change dump (IEEE 1364-2005, 18.2), which GTKWave, Surfer and sigrok read. One time unit
 * is a nanosecond; a bus that carries nothing is high-impedance.
 *
 * @returns the file, piece by piece.
 */
export function* vcd(
  header: Pick<TraceHeader, "started_at" | "kernel">,
  waves: readonly Wave[],
  summary: Pick<TraceSummary, "duration"> | null,
): Generator<string> {
  const named = waves.map((wave, index) => ({ ...wave, id: identifier(index) }));
  const [date, kernel] = [comment(header.started_at), comment(header.kernel)];
  yield `$date ${date} $end\n$version kvm-irq trace of Linux ${kernel} $end\n$timescale 1 ns $end\n`;
  for (const scope of new Set(named.map((wave) => wave.scope))) {
    yield `$scope module ${scope} $end\n`;
    for (const { id, name, kind } of named.filter((wave) => wave.scope === scope)) {
      yield kind === "line"
        ? `$var wire 1 ${id} ${name} $end\n`
        : `$var wire ${BUS_BITS} ${id} ${name} [${BUS_BITS - 1}:0] $end\n`;
    }
    yield "$upscope $end\n";
  }
  yield "$enddefinitions $end\n#0\n$dumpvars\n";
  for (const { id, kind } of named) yield changeOf(id, kind, kind === "line" ? 0 : null);
  yield "$end\n";
  const changes = named.flatMap(({ id, kind, changes }) =>
    changes.map(({ time, value }) => ({ time, text: changeOf(id, kind, value) })),
  );
  changes.sort((one, other) => one.time - other.time);
  let now = 0;
  for (const { time, text } of changes) {
    if (time > now) yield `#${time}\n`;
    now = time;
    yield text;
  }
  const end = summary?.duration ?? now;
  if (end > now) yield `#${end}\n`;
}

/** Text inside a section, which `$end` would end (18.2.3). */
function comment(text: string): string {
  return printable(text).replaceAll("$", "_");
}

/** Short identifiers of printable characters, `!` to `~`. */
function identifier(index: number): string {
  const digit = String.fromCharCode(33 + (index % 94));
  return index < 94 ? digit : identifier(Math.floor(index / 94) - 1) + digit;
}

function changeOf(id: string, kind: Wave["kind"], value: number | null): string {
  if (kind === "line") return `${value}${id}\n`;
  return value === null ? `bz ${id}\n` : `b${value.toString(2)} ${id}\n`;
}
