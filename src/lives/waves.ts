import type { TraceEvent } from "../tracefs/event.ts";
import type { Chain } from "./chain.ts";

/** Something that has one value at a time: a line's level, or the number that a bus carries. */
export interface Wave {
  /** What it belongs to: the VM's process. */
  scope: string;
  /** A name without blanks. */
  name: string;
  /** `line`: 0 or 1. `pin` and `vector`: a bus, a number of 8 bits, `null` while there is none. */
  kind: "line" | "pin" | "vector";
  /** In the order of time; at most one at any time, and none that changes nothing. */
  changes: { time: number; value: number | null }[];
}

/**
 * Draws a trace as waves: for each VM its lines, and for each interrupt controller what is pending in it (`irr`) and
 * what is in service (`isr`). A local APIC's buses carry the highest vector there is, as its priorities go; the
 * PICs' carry the pin, 0 to 15, since a trace need not tell the vector.
 *
 * @param lineOf the line that an event raises or lowers, if it does.
 */
export function wavesOf(
  events: readonly TraceEvent[],
  chains: readonly Chain[],
  lineOf: (event: TraceEvent) => { gsi: number; level: number } | undefined,
): Wave[] {
  return [...linesOf(events, lineOf), ...busesOf(chains)].sort(
    (one, other) =>
      compare(one.scope, other.scope) || rank(one) - rank(other) || compare(one.name, other.name),
  );
}

/** Numbers inside names count as numbers: gsi4 comes before gsi10. */
function compare(one: string, other: string): number {
  return one.localeCompare(other, "en", { numeric: true });
}

function rank({ kind }: Wave): number {
  return ["line", "pin", "vector"].indexOf(kind);
}

function scopeOf(process: number | null): string {
  return process === null ? "kernel" : `vm_${process}`;
}

function linesOf(events: readonly TraceEvent[], lineOf: Parameters<typeof wavesOf>[2]): Wave[] {
  const lines = new Map<string, Wave>();
  for (const event of events) {
    const raised = lineOf(event);
    if (raised === undefined) continue;
    const scope = scopeOf(event.process);
    const name = `gsi${raised.gsi}`;
    const line = lines.get(`${scope} ${name}`) ?? { scope, name, kind: "line", changes: [] };
    lines.set(`${scope} ${name}`, line);
    change(line, event.time, raised.level === 0 ? 0 : 1);
  }
  return [...lines.values()].filter(({ changes }) => changes.some(({ value }) => value === 1));
}

/** From when to when a bus has something to carry; without an end, to the end of the trace. */
interface Span {
  from: number;
  to: number | undefined;
  value: number;
}

function busesOf(chains: readonly Chain[]): Wave[] {
  const buses = new Map<string, Pick<Wave, "scope" | "name" | "kind"> & { spans: Span[] }>();
  const add = (chain: Chain, kind: Wave["kind"], chip: string, what: string, span: Span) => {
    const scope = scopeOf(chain.process);
    const name = `${chip}_${what}`;
    const bus = buses.get(`${scope} ${name}`) ?? { scope, name, kind, spans: [] };
    buses.set(`${scope} ${name}`, bus);
    bus.spans.push(span);
  };
  for (const chain of chains) {
    const { accepted, posted, injected, eoi, acknowledged } = chain.steps;
    const isPic = chain.route === "pic";
    const value = isPic ? chain.gsi : chain.vector;
    if (value === null || chain.outcome === "coalesced") continue;
    const chip = isPic ? "pic" : `apic${chain.apic ?? ""}`;
    const kind = isPic ? "pin" : "vector";
    const end = isPic ? acknowledged : eoi;
    const taken = injected ?? posted ?? end;
    if (accepted !== undefined) add(chain, kind, chip, "irr", { from: accepted, to: taken, value });
    if (injected !== undefined) add(chain, kind, chip, "isr", { from: injected, to: end, value });
  }
  return [...buses.values()].map(({ spans, ...bus }) => busOf(bus, spans));
}

/** Where spans overlap the bus carries the highest value. */
function busOf(about: Omit<Wave, "changes">, spans: readonly Span[]): Wave {
  const edges = spans.flatMap(({ from, to, value }) => [
    { time: from, value, by: 1 },
    ...(to === undefined ? [] : [{ time: to, value, by: -1 }]),
  ]);
  edges.sort((one, other) => one.time - other.time || one.by - other.by);
  const present = new Map<number, number>();
  const bus: Wave = { ...about, changes: [] };
  for (const { time, value, by } of edges) {
    const times = (present.get(value) ?? 0) + by;
    if (times === 0) present.delete(value);
    else present.set(value, times);
    change(bus, time, present.size === 0 ? null : Math.max(...present.keys()));
  }
  return bus;
}

function change({ changes }: Wave, time: number, value: number | null): void {
  if (changes.at(-1)?.time === time) changes.pop();
  const before = changes.length === 0 ? undefined : changes.at(-1)!.value;
  if (before !== value) changes.push({ time, value });
}
