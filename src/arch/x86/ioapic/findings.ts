import { hasBit, hex, listed, vcpuNames } from "../../../abi/bits.ts";
import { freeThePin } from "../../../rules/explanation.ts";
import type { FindingContext, FindingKind } from "../../../rules/finding.ts";
import { destinationText, hasVector } from "../explain/message.ts";
import { destinationOf } from "../lapic/destination.ts";
import { FIRST_LEGAL_VECTOR, intrTarget, usesLapics } from "../lapic/logic.ts";
import { isUnmasked } from "../pic/logic.ts";
import type { IoapicState, RedirectionEntry } from "./layout.ts";
import { type NoEoi, noEoiComes } from "./remote-irr.ts";

interface Pin {
  pin: number;
  entry: RedirectionEntry;
}

function pins(ioapic: IoapicState | undefined): Pin[] {
  return (ioapic?.redirtbl ?? []).map((entry, pin) => ({ pin, entry }));
}

const unmasked = ({ entry }: Pin) => !entry.mask;
const vectored = ({ entry }: Pin) => hasVector(entry.delivery_mode);

/** Level pins that wait for an EOI which will not come, each with why. */
export function stuckPins({ snapshot, cpus, hasLapics }: FindingContext): (Pin & NoEoi)[] {
  if (!hasLapics) return [];
  return pins(snapshot.chips.ioapic).flatMap(({ pin, entry }) => {
    if (entry.trig_mode !== "level" || !entry.remote_irr) return [];
    const why = noEoiComes(entry, cpus);
    return why === undefined ? [] : [{ pin, entry, ...why }];
  });
}

/** Whether a PIC takes care of the lines that the routing brings to an IOAPIC pin as well. */
function servedByPic(
  { snapshot: { chips }, possibleRoutes: routes, cpus }: FindingContext,
  pin: number,
): boolean {
  const { pic1, pic2 } = chips;
  if (pic1 === undefined || pic2 === undefined || intrTarget(cpus) === undefined) return false;
  const gsis = routes.filter((route) => route.chip === "ioapic" && route.pin === pin).map(({ gsi }) => gsi);
  return routes.some(
    (route) =>
      route.chip !== "ioapic" &&
      gsis.includes(route.gsi) &&
      isUnmasked({ pic1, pic2 }, route.chip, route.pin),
  );
}

/** Whether a guest ever gave a pin its vector: those of reset are masked, and their lines are nobody's yet. */
const isProgrammed = ({ vector }: RedirectionEntry) => vector >= FIRST_LEGAL_VECTOR;

/**
 * Of a masked pin: while a VM is paused, its handler may just be at work. A guest that uses local APICs and no pin at
 * all has its interrupts as messages (MSIs); what firmware, or the kernel before, left at the pins is nobody's.
 */
function mildWhenMasked({ snapshot, cpus, paused }: FindingContext): { severity?: "info" } {
  const withoutPins = usesLapics(cpus) && !pins(snapshot.chips.ioapic).some(unmasked);
  return paused || withoutPins ? { severity: "info" } : {};
}

/** What pins lose by sharing a vector, which depends on how they are triggered. */
function costOfSharing(sharing: readonly Pin[]): string {
  const levels = sharing.filter(({ entry }) => entry.trig_mode === "level").length;
  if (levels === 0) return "edges of pins that share one merge";
  return levels === sharing.length
    ? "one EOI ends the remote IRR of all that share one"
    : "an edge that comes before the EOI of a level leaves the level's pin stuck";
}

/** What to look for at the IOAPIC. */
export const IOAPIC_FINDINGS: readonly FindingKind[] = [
  {
    code: "remote-irr-stuck",
    severity: "error",
    *find(context) {
      for (const { pin, entry, which, evidence } of stuckPins(context)) {
        yield {
          sentence: `IOAPIC pin ${pin} waits for the EOI of vector ${hex(entry.vector)}, ${which}`,
          evidence: `ioapic.redirtbl[${pin}].remote_irr = true, ${evidence}`,
          remedy: freeThePin(pin),
        };
      }
    },
  },
  {
    code: "shares-stuck-line",
    severity: "warning",
    *find(context) {
      for (const { pin } of stuckPins(context)) {
        const gsis = context.routes
          .filter((route) => route.chip === "ioapic" && route.pin === pin)
          .map(({ gsi }) => gsi);
        if (gsis.length < 2) continue;
        yield {
          sentence: `GSIs ${listed(gsis.map(String))} share IOAPIC pin ${pin}, which is stuck: none of them gets through`,
          evidence: `routing takes ${gsis.map((gsi) => `GSI ${gsi}`).join(", ")} to ioapic.redirtbl[${pin}], whose remote_irr = true`,
          remedy: "free the pin (see remote-irr-stuck), or route the GSIs to pins of their own",
        };
      }
    },
  },
  {
    code: "asserted-but-masked",
    severity: "warning",
    *find(context) {
      const { ioapic } = context.snapshot.chips;
      for (const { pin, entry } of pins(ioapic)) {
        if (entry.trig_mode !== "level" || !entry.mask || !hasBit(ioapic!.irr, pin)) continue;
        if (!isProgrammed(entry) || servedByPic(context, pin)) continue;
        yield {
          ...mildWhenMasked(context),
          sentence: `IOAPIC pin ${pin} is asserted and masked: its device waits`,
          evidence: `ioapic.irr bit ${pin} set, ioapic.redirtbl[${pin}].mask = true, trig_mode = level`,
          remedy: "unmask the pin; a level that is still up is delivered then",
        };
      }
    },
  },
  {
    code: "edge-lost",
    severity: "warning",
    *find(context) {
      const { ioapic } = context.snapshot.chips;
      for (const { pin, entry } of pins(ioapic)) {
        if (entry.trig_mode !== "edge" || !hasBit(ioapic!.irr, pin)) continue;
        if ((entry.mask && !isProgrammed(entry)) || servedByPic(context, pin)) continue;
        const evidence = `ioapic.irr bit ${pin} set, ioapic.redirtbl[${pin}].trig_mode = edge`;
        yield entry.mask
          ? {
              ...mildWhenMasked(context),
              sentence: `IOAPIC pin ${pin} is masked and has an edge in IRR: KVM does not deliver it on unmasking`,
              evidence: `${evidence}, mask = true`,
              remedy: "unmask the pin before its device is started, or make the device raise it anew",
            }
          : {
              severity: "info",
              sentence: `IOAPIC pin ${pin} has an edge in IRR that KVM does not deliver: its line was raised again without a fall, or while the pin was masked`,
              evidence: `${evidence}, mask = false`,
              remedy:
                "none is needed where a VMM repeats a level that is up; else make the device lower its line and raise it anew",
            };
      }
    },
  },
  {
    code: "illegal-vector",
    severity: "error",
    *find({ snapshot }) {
      for (const { pin, entry } of pins(snapshot.chips.ioapic).filter(unmasked).filter(vectored)) {
        if (entry.vector >= FIRST_LEGAL_VECTOR) continue;
        yield {
          sentence: `IOAPIC pin ${pin} is unmasked with vector ${hex(entry.vector)}: below 16 no CPU ever takes it`,
          evidence: `ioapic.redirtbl[${pin}].vector = ${entry.vector}`,
          remedy: "program the redirection entry, with a vector from 0x20 on, before unmasking it",
        };
      }
    },
  },
  {
    code: "exception-vector",
    severity: "warning",
    *find({ snapshot }) {
      for (const { pin, entry } of pins(snapshot.chips.ioapic).filter(unmasked).filter(vectored)) {
        if (entry.vector < FIRST_LEGAL_VECTOR || entry.vector >= 32) continue;
        yield {
          sentence: `IOAPIC pin ${pin} is unmasked with vector ${hex(entry.vector)}, which the CPU keeps for exceptions`,
          evidence: `ioapic.redirtbl[${pin}].vector = ${entry.vector}`,
          remedy: "use a vector from 0x20 on",
        };
      }
    },
  },
  {
    code: "shared-vector",
    severity: "warning",
    *find({ snapshot, cpus }) {
      const open = pins(snapshot.chips.ioapic).filter(unmasked).filter(vectored);
      const vectors = [...new Set(open.map(({ entry }) => entry.vector))];
      for (const vector of vectors) {
        const sharing = open.filter(({ entry }) => entry.vector === vector);
        const heads = sharing.map(({ entry }) => destinationOf(entry, cpus).named.map((cpu) => cpu.vcpu));
        const common = [...new Set(heads.flat())].filter(
          (vcpu) => heads.filter((list) => list.includes(vcpu)).length > 1,
        );
        if (common.length === 0) continue;
        const names = listed(sharing.map(({ pin }) => String(pin)));
        yield {
          sentence: `IOAPIC pins ${names} all send vector ${hex(vector)} to ${vcpuNames(common)}`,
          evidence: sharing.map(({ pin }) => `ioapic.redirtbl[${pin}].vector = ${hex(vector)}`).join(", "),
          remedy: `give each pin a vector of its own; ${costOfSharing(sharing)}`,
        };
      }
    },
  },
  {
    code: "no-destination",
    severity: "error",
    *find({ snapshot, cpus, hasLapics }) {
      if (!hasLapics) return;
      for (const { pin, entry } of pins(snapshot.chips.ioapic).filter(unmasked)) {
        const { cpus: chosen, named, off } = destinationOf(entry, cpus);
        if (chosen.length + off.length > 0) continue;
        const why =
          named.length > 0
            ? "names local APICs, and lowest priority picks an absent one"
            : "matches no local APIC";
        yield {
          sentence: `${destinationText(entry)} of IOAPIC pin ${pin} ${why}`,
          evidence: `ioapic.redirtbl[${pin}].dest_id = ${hex(entry.dest_id)}, dest_mode = ${entry.dest_mode}`,
          remedy: "set a destination that a local APIC has as its id, or in its LDR",
        };
      }
    },
  },
];
