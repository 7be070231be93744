import { strandOf, type TraceEvent } from "../../../tracefs/event.ts";
import type { EventFilter, Learned, Scope } from "../../arch.ts";
import { isMaskedAnswer, rowOf, vectorOf } from "./rows.ts";

/**
 * Sorts out events that are not about the interrupts asked for, learning on the way which vectors the
 * lines asked for have, and which lines the vectors.
 */
export class ScopeFilter implements EventFilter {
  readonly #scope: Scope;
  readonly #gsis: Set<number>;
  readonly #vectors: Set<number>;
  /** The GSI that each strand is raising or lowering. */
  readonly #raising = new Map<number, number>();

  constructor(scope: Scope) {
    this.#scope = scope;
    this.#gsis = new Set(scope.gsis);
    this.#vectors = new Set(scope.vectors);
  }

  /** Whether there is nothing to sort out. */
  get takesAll(): boolean {
    return this.#scope.gsis.length === 0 && this.#scope.vectors.length === 0;
  }

  /**
   * @param events in the order of time. What one batch teaches holds for the whole of it and for later ones.
   * @returns those that belong to the scope.
   */
  filter(events: readonly TraceEvent[]): readonly TraceEvent[] {
    return this.pick(this.learn(events));
  }

  /** Learns from events in the order of time, those of earlier calls included. */
  learn(events: readonly TraceEvent[]): Learned {
    if (this.takesAll) return { events };
    const lines = events.map((event) => this.#lineOf(event));
    events.forEach((event, index) => {
      this.#learn(event, lines[index]);
    });
    return { events, lines };
  }

  /** Those that belong to the scope, as far as has been learned until now. */
  pick({ events, lines }: Learned): readonly TraceEvent[] {
    return lines === undefined ? events : events.filter((event, index) => this.#holds(event, lines[index]));
  }

  /** The GSI an event is about, as far as it is about a line. */
  #lineOf(event: TraceEvent): number | undefined {
    const row = rowOf(event);
    if (row === undefined || row.gsi === null) return undefined;
    const gsi = row.gsi(event, this.#raising.get(strandOf(event)));
    if (row.part === "line" && gsi !== undefined) this.#raising.set(strandOf(event), gsi);
    return gsi;
  }

  #learn(event: TraceEvent, gsi: number | undefined): void {
    const vector = vectorOf(event);
    if (gsi === undefined || vector === undefined) return;
    if (this.#scope.gsis.includes(gsi) && !isMaskedAnswer(event)) this.#vectors.add(vector);
    if (this.#scope.vectors.includes(vector)) this.#gsis.add(gsi);
  }

  #holds(event: TraceEvent, gsi: number | undefined): boolean {
    if (gsi !== undefined && this.#gsis.has(gsi)) return true;
    const vector = vectorOf(event);
    if (vector === undefined) return gsi === undefined;
    // A PIC's vectors are known only by their low bits: those of the pin.
    const mayBePic =
      rowOf(event)?.part === "injected" &&
      this.#scope.gsis.some((line) => line < 16 && (line & 7) === (vector & 7));
    return mayBePic || this.#vectors.has(vector);
  }
}
