import { hex } from "../../../abi/bits.ts";
import { numberArg, type TraceEvent, wordsArg } from "../../../tracefs/event.ts";
import { apicOf, gsiOfAck, gsiOfPicPin, isIoapicAck, isMasked, messageOf, redirectionOf } from "./args.ts";
import { modeOf, type VectorlessMode } from "./vectorless.ts";

/** What an event is in the life of an interrupt: a line's change, a chip's answer, or a vCPU's act. */
type Part =
  | "line"
  | "msi"
  | "pic"
  | "ioapic"
  | "accepted"
  | "posted"
  | "injected"
  | "eoi"
  | "acknowledged"
  | "none";

/** One of KVM's tracepoints. What it has none of is `null`, so that nothing is forgotten. */
interface EventRow {
  part: Part;
  /** The GSI that it is about. @param raising the one that its strand is raising or lowering. */
  gsi: ((event: TraceEvent, raising: number | undefined) => number | undefined) | null;
  /** The vector that it is about. */
  vector: ((event: TraceEvent) => number) | null;
  /** The word that has the delivery mode in bits 8 to 10. */
  mode: ((event: TraceEvent) => number) | null;
  /** The kernel's filter for some lines, and the field to filter by vector; what has neither is recorded always. */
  filter: { gsis: (gsis: readonly number[]) => string } | { vector: string } | null;
  /** What it says, in few words. */
  detail: (event: TraceEvent) => string;
}

const acceptedBy = (part: "accepted" | "posted"): EventRow => ({
  part,
  gsi: null,
  vector: (event) => numberArg(event, "vec"),
  mode: (event) => numberArg(event, "dm"),
  filter: { vector: "vec" },
  detail: (event) =>
    `apic ${apicOf(event)} ${vectorIn(event, "vec")} ${numberArg(event, "tm") === 0 ? "edge" : "level"}${modeText(event)}`,
});

const EOI: EventRow = {
  part: "eoi",
  gsi: null,
  vector: (event) => numberArg(event, "vector"),
  mode: null,
  filter: { vector: "vector" },
  detail: (event) =>
    `apic ${apicOf(event)} ${numberArg(event, "vector") === -1 ? "nothing in service" : vectorIn(event, "vector")}`,
};

const redirection = (row: Pick<EventRow, "part" | "gsi" | "filter">): EventRow => ({
  ...row,
  vector: (event) => wordsArg(event, "e")[0] & 0xff,
  mode: null,
  detail(event) {
    const { vector, delivery_mode, dest_mode, dest_id, trig_mode, mask } = redirectionOf(event);
    const pin = event.args["pin"] === undefined ? "" : `pin ${event.args["pin"]} `;
    const how = words(trig_mode, mask && "masked", flag(event, "coalesced"));
    return `${pin}vector ${hex(vector)} ${how}, ${delivery_mode} to ${dest_mode} ${dest_id}`;
  },
});

/** Everything that KVM tells of an interrupt's life on x86, as `events/kvm/` names it. */
const EVENTS = {
  kvm_set_irq: {
    part: "line",
    gsi: (event) => numberArg(event, "gsi"),
    vector: null,
    mode: null,
    filter: { gsis: (gsis) => anyOf("gsi", gsis) },
    detail: (event) => `gsi ${numberArg(event, "gsi")} level ${numberArg(event, "level")}`,
  },
  kvm_pic_set_irq: {
    part: "pic",
    gsi: (event) => gsiOfPicPin(numberArg(event, "chip"), numberArg(event, "pin")),
    vector: null,
    mode: null,
    // The chip and its pin; a chip number that no PIC has when none of the lines has a PIC pin.
    filter: { gsis: (gsis) => picPins(gsis) || "chip==255" },
    detail(event) {
      const pin = numberArg(event, "pin");
      const isSet = (field: string) => ((numberArg(event, field) >> pin) & 1) === 1;
      const chip = `pic${numberArg(event, "chip") + 1} pin ${pin}`;
      return words(
        chip,
        isSet("elcr") ? "level" : "edge",
        isSet("imr") && "masked",
        flag(event, "coalesced"),
      );
    },
  },
  kvm_ioapic_set_irq: redirection({
    part: "ioapic",
    gsi: (event, raising) => raising ?? numberArg(event, "pin"),
    filter: { gsis: (gsis) => anyOf("pin", ioapicPins(gsis)) },
  }),
  kvm_msi_set_irq: {
    part: "msi",
    gsi: (_event, raising) => raising,
    // An MSI has its vector in the low byte of the data (Intel SDM vol. 3, 12.11.2).
    vector: (event) => wordsArg(event, "data")[0] & 0xff,
    mode: (event) => wordsArg(event, "data")[0],
    filter: null,
    detail(event) {
      const { address, data } = messageOf(event);
      return `vector ${hex(data & 0xff)} address ${hex(address, 1)} data ${hex(data, 1)}${modeText(event)}`;
    },
  },
  kvm_apic_accept_irq: acceptedBy("accepted"),
  kvm_apicv_accept_irq: acceptedBy("posted"),
  kvm_inj_virq: {
    part: "injected",
    gsi: null,
    vector: (event) => numberArg(event, "vector"),
    mode: null,
    filter: { vector: "vector" },
    detail: (event) => words(vectorIn(event, "vector"), flag(event, "soft"), flag(event, "reinjected")),
  },
  kvm_ack_irq: {
    part: "acknowledged",
    gsi: gsiOfAck,
    vector: null,
    mode: null,
    filter: null,
    detail(event) {
      const pin = numberArg(event, "pin");
      return isIoapicAck(event)
        ? `ioapic pin ${pin}`
        : `pic${numberArg(event, "irqchip") + 1} pin ${pin & 7}`;
    },
  },
  kvm_eoi: EOI,
  kvm_pv_eoi: EOI,
  kvm_ioapic_delayed_eoi_inj: redirection({ part: "none", gsi: null, filter: null }),
} as const satisfies Record<string, EventRow>;

const ROWS: ReadonlyMap<string, EventRow> = new Map<string, EventRow>(Object.entries(EVENTS));

/** The names of the events to record. */
export const INTERRUPT_EVENTS: readonly string[] = [...ROWS.keys()];

/** What is known of an event of this name; `undefined` for one that is not about interrupts. */
export function rowOf({ event }: Pick<TraceEvent, "event">): EventRow | undefined {
  return ROWS.get(event);
}

/** The vector that an event is about; `undefined` for those that carry none. */
export function vectorOf(event: TraceEvent): number | undefined {
  return rowOf(event)?.vector?.(event);
}

/** How an event's interrupt is delivered where that is not by vector; else `null`. */
export function vectorlessModeOf(event: TraceEvent): VectorlessMode | null {
  const bits = rowOf(event)?.mode?.(event);
  return bits === undefined ? null : modeOf(bits);
}

/** Whether an event is the IOAPIC's answer, and that the pin is masked. */
export function isMaskedAnswer(event: TraceEvent): boolean {
  return rowOf(event)?.part === "ioapic" && isMasked(event);
}

/**
 * What an event says, in few words: "gsi 4 level 1", "pin 4 vector 0x34 edge masked, fixed to physical 0".
 *
 * An event that is not one of KVM's interrupt events is given field by field.
 */
export function detailOf(event: TraceEvent): string {
  const row = rowOf(event);
  if (row !== undefined) return row.detail(event);
  return Object.entries(event.args)
    .map(([name, value]) => `${name}=${value}`)
    .join(" ");
}

function anyOf(field: string, values: readonly number[]): string {
  return values.map((value) => `${field}==${value}`).join("||");
}

/**
 * The filter that the kernel applies to an event before it is recorded (Documentation/trace/events.rst,
 * "Event filtering").
 *
 * An event says either which line it is about or which vector. When a scope names only lines, the kernel
 * can sort out line events alone, and the other way round; `ScopeFilter` sorts out the rest.
 *
 * @returns the expression; `undefined` when every event of that name is to be recorded.
 */
export function kernelFilter(
  name: string,
  { gsis, vectors }: { gsis: readonly number[]; vectors: readonly number[] },
): string | undefined {
  const filter = rowOf({ event: name })?.filter ?? undefined;
  if (filter === undefined || gsis.length > 0 === vectors.length > 0) return undefined;
  if ("gsis" in filter) return gsis.length > 0 ? filter.gsis(gsis) : undefined;
  return vectors.length > 0 ? anyOf(filter.vector, vectors) : undefined;
}

/** Pins as GSIs have them by default; GSI 0 is pin 2 of the IOAPIC in VMs laid out like a PC. */
function ioapicPins(gsis: readonly number[]): number[] {
  return [...new Set(gsis.flatMap((gsi) => (gsi === 0 ? [0, 2] : [gsi])))];
}

function picPins(gsis: readonly number[]): string {
  return gsis
    .filter((gsi) => gsi < 16)
    .map((gsi) => `(chip==${gsi >> 3}&&pin==${gsi & 7})`)
    .join("||");
}

function words(...parts: (string | false)[]): string {
  return parts.filter((part) => part !== false).join(" ");
}

function vectorIn(event: TraceEvent, field: string): string {
  return `vector ${hex(numberArg(event, field))}`;
}

function modeText(event: TraceEvent): string {
  const mode = vectorlessModeOf(event);
  return mode === null ? "" : `, ${mode}`;
}

function flag(event: TraceEvent, name: string): string | false {
  return numberArg(event, name) !== 0 && name;
}
