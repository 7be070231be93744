import { bitsOf, hasBit, hex, listed } from "../../../abi/bits.ts";
import type { FindingContext, FindingKind } from "../../../rules/finding.ts";
import { hasVector } from "../explain/message.ts";
import { destinationOf } from "../lapic/destination.ts";
import { FIRST_LEGAL_VECTOR, intrTarget, lint0, softwareEnabled, usesLapics } from "../lapic/logic.ts";
import { interruptible } from "../vcpu/explain.ts";
import type { PicState } from "./layout.ts";
import {
  acknowledge,
  CASCADE_PIN,
  isUnmasked,
  lacksBase,
  type PicPair,
  requested,
  vectorOf,
} from "./logic.ts";

function pairOf({ snapshot: { chips } }: FindingContext): PicPair | undefined {
  const { pic1, pic2 } = chips;
  return pic1 && pic2 && { pic1, pic2 };
}

function chipsOf({ pic1, pic2 }: PicPair): ["pic1" | "pic2", PicState][] {
  return [
    ["pic1", pic1],
    ["pic2", pic2],
  ];
}

/** GSIs that both a PIC and the IOAPIC would deliver, with what each makes of them. */
function doublyOpen(context: FindingContext): { gsi: number; pin: number; vector: number }[] {
  const { snapshot, cpus, routes } = context;
  const { ioapic } = snapshot.chips;
  const pics = pairOf(context);
  if (pics === undefined || ioapic === undefined || intrTarget(cpus) === undefined) return [];
  return routes.flatMap(({ gsi, chip, pin }) => {
    if (chip === "ioapic" || !isUnmasked(pics, chip, pin)) return [];
    const other = routes.find((route) => route.gsi === gsi && route.chip === "ioapic");
    const entry = other && ioapic.redirtbl[other.pin];
    if (other === undefined || entry === undefined || entry.mask || !hasVector(entry.delivery_mode))
      return [];
    if (!destinationOf(entry, cpus).cpus.some(softwareEnabled) || entry.vector < FIRST_LEGAL_VECTOR)
      return [];
    return [{ gsi, pin: other.pin, vector: vectorOf(pics[chip], pin) }];
  });
}

/** Where a guest may run: what the PICs request is an error only once a vCPU would take it. Firmware waits, too. */
function mildUnlessTaken({ guest, cpus }: FindingContext): { severity?: "info" } {
  return guest && !cpus.some(interruptible) ? { severity: "info" } : {};
}

/**
 * Whether a guest has left the PICs behind: it has an IOAPIC pin open, or uses local APICs. What firmware left
 * unmasked in the PICs is then latched for good, and nobody waits for it.
 */
function usesApics({ snapshot, cpus, guest }: FindingContext): boolean {
  const pins = snapshot.chips.ioapic?.redirtbl ?? [];
  return (
    guest && (pins.some(({ mask, delivery_mode }) => !mask && hasVector(delivery_mode)) || usesLapics(cpus))
  );
}

/** Whether the GSI of a PIC's input may be open at the IOAPIC, which then takes care of its device. */
function servedByIoapic({ snapshot, possibleRoutes }: FindingContext, chip: string, pin: number): boolean {
  const gsis = possibleRoutes.filter((route) => route.chip === chip && route.pin === pin);
  return possibleRoutes.some(
    (route) =>
      route.chip === "ioapic" &&
      gsis.some(({ gsi }) => gsi === route.gsi) &&
      snapshot.chips.ioapic?.redirtbl[route.pin]?.mask === false,
  );
}

/** What to look for at the PICs. */
export const PIC_FINDINGS: readonly FindingKind[] = [
  {
    code: "pic-not-initialised",
    severity: "error",
    *find(context) {
      const pics = pairOf(context);
      if (pics === undefined || (context.hasLapics && intrTarget(context.cpus) === undefined)) return;
      for (const [chip, pic] of chipsOf(pics)) {
        const waiting = bitsOf(pic.irr).filter((pin) => lacksBase(pic) && isUnmasked(pics, chip, pin));
        if (waiting.length === 0) continue;
        const vectors = listed(waiting.map((pin) => hex(vectorOf(pic, pin))));
        yield {
          ...mildUnlessTaken(context),
          sentence: `${chip} was never given a vector base, and its ${waiting.length === 1 ? `pin ${waiting[0]} waits: it comes as vector ${vectors}, an exception's` : `pins ${listed(waiting.map(String))} wait: they come as vectors ${vectors}, which are exceptions'`}`,
          evidence: `${chip}.irq_base = ${hex(pic.irq_base)}, ${chip}.irr = ${hex(pic.irr)}, ${chip}.imr = ${hex(pic.imr)}`,
          remedy:
            "initialise the PICs with ICW1 to ICW4 (bases such as 0x20 and 0x28), or mask them: write 0xff to ports 0x21 and 0xa1",
        };
      }
    },
  },
  {
    code: "double-delivery",
    severity: "warning",
    *find(context) {
      const found = doublyOpen(context);
      if (found.length === 0) return;
      const first = found[0]!;
      const doubt = context.routed ? "" : ", if it goes to both, as under KVM's default routing";
      yield {
        ...(context.routed ? {} : { severity: "info" as const }),
        sentence: `GSI ${listed(found.map(({ gsi }) => String(gsi)))} ${found.length > 1 ? "are" : "is"} open at the PIC and at the IOAPIC: each interrupt comes twice${doubt}`,
        evidence: `GSI ${first.gsi}: PIC unmasked (vector ${hex(first.vector)}), ioapic.redirtbl[${first.pin}].mask = false, LINT0 lets INTR in`,
        remedy: "mask the PICs (write 0xff to ports 0x21 and 0xa1), or mask LINT0, before using the IOAPIC",
      };
    },
  },
  {
    code: "intr-goes-nowhere",
    severity: "error",
    *find(context) {
      const pics = pairOf(context);
      const answer = pics && acknowledge(pics);
      const first = context.cpus[0];
      if (answer === undefined || first === undefined || intrTarget(context.cpus) !== undefined) return;
      if (servedByIoapic(context, answer.chip, answer.pin)) return;
      const why = lint0(first) === "masked" ? "masked" : "not in ExtINT mode";
      yield {
        ...(usesApics(context) ? { severity: "info" as const } : mildUnlessTaken(context)),
        sentence: `the PICs request pin ${answer.pin} of ${answer.chip}, and LINT0 is ${why}: no PIC interrupt reaches a vCPU`,
        evidence: `${answer.chip}.irr bit ${answer.pin} set, lapic[${first.vcpu}].lvt_lint0 = 0x${first.lapic.lvt_lint0.toString(16)}`,
        remedy:
          "set LINT0 of the bootstrap processor to ExtINT, unmasked (0x700), or mask the PICs and use the IOAPIC",
      };
    },
  },
  {
    code: "spurious-irq15",
    severity: "warning",
    *find(context) {
      const pics = pairOf(context);
      if (pics === undefined || !hasBit(pics.pic1.irr & ~pics.pic1.imr, CASCADE_PIN)) return;
      if (requested(pics.pic2, false) !== undefined || intrTarget(context.cpus) === undefined) return;
      yield {
        ...mildUnlessTaken(context),
        sentence: `pic1 has the slave's request latched and pic2 has none: an acknowledge answers a spurious IRQ 15 (vector ${hex(vectorOf(pics.pic2, 7))})`,
        evidence: `pic1.irr bit ${CASCADE_PIN} set, pic2.irr & ~pic2.imr = ${hex(pics.pic2.irr & ~pics.pic2.imr & 0xff)}`,
        remedy: "the guest's IRQ 15 handler has to read the slave's ISR, and send an EOI to the master alone",
      };
    },
  },
  {
    code: "spurious-irq7",
    severity: "info",
    *find({ snapshot, previous, guest }) {
      const now = snapshot.chips.pic1;
      const before = previous?.chips.pic1;
      // Where a guest runs, a level that was served between the readings looks the same.
      if (guest || now === undefined || before === undefined) return;
      const pin = requested(before, true);
      if (pin === undefined || !hasBit(before.elcr, pin)) return;
      if (hasBit(now.irr | now.isr, pin)) return;
      yield {
        sentence: `the level of pic1 pin ${pin} was served, or went down while it was requested: an 8259 answers an acknowledge in that moment with a spurious IRQ 7`,
        evidence: `pic1.irr bit ${pin} set before and clear now, pic1.isr bit ${pin} clear, pic1.elcr bit ${pin} set`,
        remedy:
          "the device has to hold a level until its handler tells it to stop; IRQ 7's handler has to check the ISR",
      };
    },
  },
];
