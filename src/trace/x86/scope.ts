import { numberArg, strandOf, type TraceEvent } from "../event.ts";
import { gsiOfAck, gsiOfPicPin, isMasked, vectorOf } from "./args.ts";

/** Which interrupts a trace is about: those of these GSIs and those of these vectors. */
export interface Scope {
  gsis: readonly number[];
  vectors: readonly number[];
}

const anyOf = (field: string, values: readonly number[]) =>
  values.map((value) => `${field}==${value}`).join("||");

/** Pins as GSIs have them by default; GSI 0 is pin 2 of the IOAPIC in VMs laid out like a PC. */
const ioapicPins = (gsis: readonly number[]) => [
  ...new Set(gsis.flatMap((gsi) => (gsi === 0 ? [0, 2] : [gsi]))),
];

/**
 * The filter that the kernel applies to an event before it is recorded (Documentation/trace/events.rst,
 * "Event filtering").
 *
 * An event says either which line it is about or which vector. When a scope names only lines, the kernel
 * can sort out line events alone, and the other way round; {@link ScopeFilter} sorts out the rest.
 *
 * @returns the expression; `undefined` when every event of that name is to be recorded.
 */
export function kernelFilter(event: string, { gsis, vectors }: Scope): string | undefined {
  if (gsis.length > 0 && vectors.length === 0) {
    switch (event) {
      case "kvm_set_irq":
        return anyOf("gsi", gsis);
      case "kvm_ioapic_set_irq":
        return anyOf("pin", ioapicPins(gsis));
      case "kvm_pic_set_irq":
        // The chip and its pin; a chip number that no PIC has when none of the lines has a PIC pin.
        return picPins(gsis) || "chip==255";
      default:
        return undefined;
    }
  }
  if (vectors.length > 0 && gsis.length === 0) {
    switch (event) {
      case "kvm_apic_accept_irq":
      case "kvm_apicv_accept_irq":
        return anyOf("vec", vectors);
      case "kvm_inj_virq":
      case "kvm_eoi":
      case "kvm_pv_eoi":
        return anyOf("vector", vectors);
      default:
        return undefined;
    }
  }
  return undefined;
}

function picPins(gsis: readonly number[]): string {
  return gsis
    .filter((gsi) => gsi < 16)
    .map((gsi) => `(chip==${gsi >> 3}&&pin==${gsi & 7})`)
    .join("||");
}

/** Events, and the line that each is about; without lines all of them belong to the scope. */
export interface Learned {
  events: readonly TraceEvent[];
  lines?: readonly (number | undefined)[];
}

/**
 * Sorts out events that are not about the interrupts asked for, learning on the way which vectors the
 * lines asked for have, and which lines the vectors.
 */
export class ScopeFilter {
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
    switch (event.event) {
      case "kvm_set_irq":
        this.#raising.set(strandOf(event), numberArg(event, "gsi"));
        return numberArg(event, "gsi");
      case "kvm_pic_set_irq":
        return gsiOfPicPin(numberArg(event, "chip"), numberArg(event, "pin"));
      case "kvm_ioapic_set_irq":
        return this.#raising.get(strandOf(event)) ?? numberArg(event, "pin");
      case "kvm_msi_set_irq":
        return this.#raising.get(strandOf(event));
      case "kvm_ack_irq":
        return gsiOfAck(event);
      default:
        return undefined;
    }
  }

  #learn(event: TraceEvent, gsi: number | undefined): void {
    const vector = vectorOf(event);
    if (gsi === undefined || vector === undefined) return;
    if (this.#scope.gsis.includes(gsi) && !(event.event === "kvm_ioapic_set_irq" && isMasked(event)))
      this.#vectors.add(vector);
    if (this.#scope.vectors.includes(vector)) this.#gsis.add(gsi);
  }

  #holds(event: TraceEvent, gsi: number | undefined): boolean {
    if (gsi !== undefined && this.#gsis.has(gsi)) return true;
    const vector = vectorOf(event);
    if (vector === undefined) return gsi === undefined;
    // A PIC's vectors are known only by their low bits: those of the pin.
    const mayBePic =
      event.event === "kvm_inj_virq" &&
      this.#scope.gsis.some((line) => line < 16 && (line & 7) === (vector & 7));
    return mayBePic || this.#vectors.has(vector);
  }
}
