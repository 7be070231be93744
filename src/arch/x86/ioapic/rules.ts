import { hasBit, hex } from "../../../abi/bits.ts";
import type { Vector } from "../../../abi/numbers.ts";
import { bitClear, bitSet, type Evidence, is, listHas } from "../../../rules/evidence.ts";
import type { Severity } from "../../../rules/finding.ts";
import { type Rule, rule } from "../../../rules/rule.ts";
import type { IoapicPin, Scene, ScenePin } from "../explain/context.ts";

import { matches } from "../lapic/destination.ts";
import { type Cpu, FIRST_LEGAL_VECTOR, usesLapics } from "../lapic/logic.ts";
import { ILLEGAL_VECTOR, MESSAGE_RULES, NO_DESTINATION } from "../lapic/rules.ts";
import { isUnmasked } from "../pic/logic.ts";
import { noEoiComes } from "./remote-irr.ts";

/** The pin of the real-time clock, whose EOIs KVM keeps track of. */
const RTC_PIN = 8;
const FIRST_USABLE_VECTOR = 32;

const TABLE = "82093AA, 3.2.4";
const REMOTE_IRR = "82093AA, 3.2.4, bit 14; KVM ioapic.c kvm_ioapic_update_eoi_one";
const SET_IRQ = "KVM ioapic.c ioapic_set_irq";

/** An edge in IRR was not delivered: KVM hides the bit of one that was. */
const EDGE_LOST = rule<IoapicPin>(
  "edge-lost",
  "blocked",
  SET_IRQ,
  ({ ioapic, pin, entry, path }) =>
    entry.trig_mode === "edge" &&
    hasBit(ioapic.irr, pin) && [bitSet("ioapic.irr", pin), is(`${path}.trig_mode`, "edge")],
  { ioapic: "ioapic-edge-lost" },
);

/** The pin's line. The chip shows a level only until it is delivered; the PIC's input helps out. */
export const IOAPIC_LINE_RULES: readonly Rule<IoapicPin>[] = [
  rule("line-high", "open", SET_IRQ, ({ ioapic, pin, entry, path }) => {
    return (
      entry.trig_mode === "level" &&
      hasBit(ioapic.irr, pin) && [bitSet("ioapic.irr", pin), is(`${path}.trig_mode`, "level")]
    );
  }),
  { ...EDGE_LOST, level: { hop: "pending" }, as: { line: "line-edge-latched" } },
  // KVM_SET_IRQCHIP makes KVM forget which edges it delivered, and no state shows whether it did.
  rule("line-edge-consumed", "blocked", SET_IRQ, ({ ioapic, pin, entry, picInput }) => {
    return (
      entry.trig_mode === "edge" &&
      !entry.mask &&
      !hasBit(ioapic.irr, pin) &&
      picInput?.high === true && [bitSet(picInput.path, picInput.pin), bitClear("ioapic.irr", pin)]
    );
  }),
  rule("line-low", "open", SET_IRQ, ({ pin }) => [bitClear("ioapic.irr", pin)]),
];

/** A level pin that waits for an EOI which will not come. */
const STUCK = rule<IoapicPin>(
  "remote-irr-stuck",
  { hop: "blocked", finding: "error" },
  REMOTE_IRR,
  (at) => {
    const stuck = at.cpus && waits(at) && noEoiComes(at.entry, at.cpus);
    return stuck && [is(`${at.path}.remote_irr`, true), ...stuck.facts];
  },
  { ioapic: "ioapic-remote-irr-stuck" },
);

const waits = ({ entry }: IoapicPin) => entry.trig_mode === "level" && entry.remote_irr;

/** Whether the IOAPIC would send its message once the pin has risen, and to whom. */
export const IOAPIC_RULES: readonly Rule<IoapicPin>[] = [
  rule("ioapic-masked", "blocked", TABLE, ({ entry, path }) => entry.mask && [is(`${path}.mask`, true)]),
  STUCK,
  rule("ioapic-waits-for-eoi", "in service", REMOTE_IRR, (at) => {
    return waits(at) && [is(`${at.path}.remote_irr`, true)];
  }),
  EDGE_LOST,
  // KVM counts an RTC interrupt that has no EOI yet as one with the next.
  rule("ioapic-rtc-coalesced", "in service", "KVM ioapic.c rtc_irq_check_coalesced", (at) => {
    const busy = rtcBusy(at);
    return busy.length > 0 && busy.map(({ vcpu, lapic }) => hasPending(vcpu, lapic, at.entry.vector));
  }),
  ...MESSAGE_RULES,
  rule("ioapic-open", "open", TABLE, ({ entry, path }) => [
    is(`${path}.mask`, false),
    is(`${path}.trig_mode`, entry.trig_mode),
  ]),
];

/** The local APICs whose EOI the RTC's pin is owed. */
export function rtcBusy({ pin, entry, cpus = [] }: IoapicPin): Cpu[] {
  if (pin !== RTC_PIN) return [];
  const { vector } = entry;
  return cpus.filter(
    (cpu) => matches(entry, cpu) && (cpu.lapic.irr.includes(vector) || cpu.lapic.isr.includes(vector)),
  );
}

function hasPending(vcpu: number, lapic: Cpu["lapic"], vector: Vector): Evidence {
  return listHas(`lapic[${vcpu}].${lapic.irr.includes(vector) ? "irr" : "isr"}`, hex(vector));
}

/** Whether a PIC takes care of the lines that the routing brings to an IOAPIC pin as well. */
function servedByPic({ vm: { pics, intr, possibleRoutes }, pin }: ScenePin): boolean {
  if (pics === undefined || intr === undefined) return false;
  const gsis = possibleRoutes
    .filter((route) => route.chip === "ioapic" && route.pin === pin)
    .map(({ gsi }) => gsi);
  return possibleRoutes.some(
    (route) => route.chip !== "ioapic" && gsis.includes(route.gsi) && isUnmasked(pics, route.chip, route.pin),
  );
}

/**
 * What waits at a pin is nobody's concern where no guest has programmed it, for those of reset are masked, and where
 * a PIC takes care of its line. While a VM is paused, a handler that masks its pin may just be at work. A guest that
 * uses local APICs and no pin at all has its interrupts as messages (MSIs); what firmware, or the kernel before, left
 * at the pins is nobody's.
 */
function unlessServed(at: ScenePin, severity: Severity): Severity | undefined {
  const { mask, vector } = at.entry;
  if ((mask && vector < FIRST_LEGAL_VECTOR) || servedByPic(at)) return undefined;
  const withoutPins = usesLapics(at.vm.cpus) && openPins(at.vm).length === 0;
  return mask && (at.vm.paused || withoutPins) ? "info" : severity;
}

/** The GSIs that the routing brings to a pin. */
export function gsisOf({ vm, pin }: ScenePin): number[] {
  return vm.routes.filter((route) => route.chip === "ioapic" && route.pin === pin).map(({ gsi }) => gsi);
}

/** What to look for at every pin. */
export const PIN_FINDINGS: readonly Rule<ScenePin>[] = [
  STUCK,
  rule("shares-stuck-line", { finding: "warning" }, REMOTE_IRR, (at) => {
    return gsisOf(at).length > 1 && STUCK.test(at);
  }),
  rule(
    "asserted-but-masked",
    { finding: (at) => unlessServed(at, "warning") },
    SET_IRQ,
    ({ ioapic, pin, entry, path }) =>
      entry.trig_mode === "level" &&
      entry.mask &&
      hasBit(ioapic.irr, pin) && [
        bitSet("ioapic.irr", pin),
        is(`${path}.mask`, true),
        is(`${path}.trig_mode`, "level"),
      ],
  ),
  { ...EDGE_LOST, level: { finding: (at) => unlessServed(at, at.entry.mask ? "warning" : "info") } },
];

/** What to look for at pins that are unmasked and send a vector. */
export const VECTOR_FINDINGS: readonly Rule<ScenePin>[] = [
  ILLEGAL_VECTOR,
  rule("exception-vector", { finding: "warning" }, "SDM vol. 3, 7.2", ({ vector, at }) => {
    const isException = vector !== null && vector >= FIRST_LEGAL_VECTOR && vector < FIRST_USABLE_VECTOR;
    return isException && [at.vector];
  }),
];

/** A vector that several open pins send. */
export interface SharedVector {
  vector: Vector;
  pins: readonly ScenePin[];
  /** The vCPUs that have it from more than one of them. */
  vcpus: number[];
}

export const openPins = ({ pins }: Scene): ScenePin[] => pins.filter(({ entry }) => !entry.mask);
export const vectoredPins = (vm: Scene): ScenePin[] => openPins(vm).filter(({ vector }) => vector !== null);

export function sharedVectors(vm: Scene): SharedVector[] {
  const open = vectoredPins(vm);
  return [...new Set(open.map(({ entry }) => entry.vector))].map((vector) => {
    const pins = open.filter(({ entry }) => entry.vector === vector);
    const heads = pins.map(({ destination }) => destination.named.map(({ vcpu }) => vcpu));
    const common = (vcpu: number) => heads.filter((list) => list.includes(vcpu)).length > 1;
    return { vector, pins, vcpus: [...new Set(heads.flat())].filter(common) };
  });
}

export const SHARED_FINDINGS: readonly Rule<SharedVector>[] = [
  rule("shared-vector", { finding: "warning" }, "SDM vol. 3, 12.8.4", ({ vector, pins, vcpus }) => {
    return vcpus.length > 0 && pins.map(({ path }) => is(`${path}.vector`, hex(vector)));
  }),
];

/** What to look for at pins that are unmasked. */
export const OPEN_PIN_FINDINGS: readonly Rule<ScenePin>[] = [NO_DESTINATION];
