import type { TraceEvent } from "../tracefs/event.ts";
import type { Chain } from "./chain.ts";

/** Joins events, in the order of time, into the lives of interrupts. */
export interface Joiner<C extends Chain = Chain> {
  push(event: TraceEvent): void;
  /** After the last event. */
  finish(): void;
  /** Chains that were handed on, in the order in which they began, numbered without gaps. */
  numbered(chains: readonly C[]): C[];
}

/**
 * The lives of a whole trace's interrupts, in the order in which they began.
 *
 * @param join makes a joiner, which gives each chain once it is over.
 * @param events in the order of time.
 */
export function joinAll<C extends Chain>(
  join: (onChain: (chain: C) => void) => Joiner<C>,
  events: Iterable<TraceEvent>,
): C[] {
  const chains: C[] = [];
  const joiner = join((chain) => chains.push(chain));
  for (const event of events) joiner.push(event);
  joiner.finish();
  return joiner.numbered(chains);
}
