import { numberArg, type TraceEvent } from "../../../tracefs/event.ts";
import type { Life, Line } from "./life.ts";

/** Threads, lines and the like that are remembered at most; a host has fewer. */
const MOST_REMEMBERED = 100_000;
/** The most interrupts of a line that is up; its fall is the last step of each. */
const MOST_OF_A_LINE = 10_000;

/** Lines that are up, with the chains that came of it. */
export class Lines {
  readonly #up = new Map<Line, Life[]>();

  /** The line of this event goes up. @returns whether it was up already. */
  rise(event: TraceEvent): boolean {
    const line = lineOf(event);
    if (this.#up.has(line)) return true;
    this.#up.set(line, []);
    forgetOldest(this.#up);
    return false;
  }

  /** The line of this event goes down, and with it that of its chains. */
  fall(event: TraceEvent): void {
    const line = lineOf(event);
    for (const chain of this.#up.get(line) ?? []) chain.steps.lowered = event.time;
    this.#up.delete(line);
  }

  /** The fall of the line that this event raised will be the chain's. */
  tieToRise(chain: Life, event: TraceEvent): void {
    this.#tie(chain, lineOf(event));
  }

  /** What will lower the line of one chain will lower that of its successor. */
  follow(chain: Life, successor: Life): void {
    if (chain.line !== undefined && chain.steps.lowered === undefined) this.#tie(successor, chain.line);
  }

  #tie(chain: Life, line: Line): void {
    const tied = this.#up.get(line);
    tied?.push(chain);
    if (tied !== undefined && tied.length > MOST_OF_A_LINE) tied.shift();
    chain.line = line;
  }

  /** The line that this event raised was not the chain's after all. */
  untie(chain: Life, event: TraceEvent): void {
    delete chain.steps.lowered;
    chain.line = undefined;
    const tied = this.#up.get(lineOf(event));
    if (tied?.includes(chain)) tied.splice(tied.indexOf(chain), 1);
  }
}

/** A line is a VM's, a GSI's and a source's: the levels of all sources together make the GSI's. */
function lineOf(event: TraceEvent): Line {
  const [gsi, source] = [numberArg(event, "gsi"), numberArg(event, "irq_source_id")];
  if (gsi >= 2 ** 12 || source >= 2 ** 8) return `${event.process} ${gsi} ${source}`;
  return (((event.process ?? -1) + 1) * 2 ** 12 + gsi) * 2 ** 8 + source;
}

/** Forgets what a map has had longest, when it holds more than a host has. @returns what was forgotten. */
export function forgetOldest<K, V>(map: Map<K, V>): V | undefined {
  if (map.size <= MOST_REMEMBERED) return undefined;
  const [key, value] = map.entries().next().value!;
  map.delete(key);
  return value;
}
