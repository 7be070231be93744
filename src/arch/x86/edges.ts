import { hasBit } from "../../abi/bits.ts";
import type { Pin, Vector } from "../../abi/numbers.ts";
import type { PinRoute } from "../../vm/routing.ts";
import type { RedirectionEntry } from "./ioapic/layout.ts";
import { hasVector } from "./lapic/destination.ts";
import type { LapicState } from "./lapic/layout.ts";
import type { PicState } from "./pic/layout.ts";
import { CASCADE_PIN } from "./pic/logic.ts";
import type { Chips } from "./state.ts";

/**
 * The GSIs whose line rose between two readings, as far as the chips tell. A rise that leaves no trace is
 * not seen: one that is coalesced with an interrupt still pending, one that the guest has served before
 * the second reading, and all but one of several.
 *
 * Traces are, at a PIC: line level (`last_irr`), IRR or ISR newly set; at the IOAPIC: IRR newly set, remote
 * IRR newly set, or for an edge the pin's vector newly in a local APIC's IRR or ISR.
 *
 * @param routes where GSIs go, as far as that is pins: an MSI leaves no trace of its GSI.
 * @returns each GSI once, lowest first.
 */
export function risenGsis(before: Chips, after: Chips, routes: readonly PinRoute[]): number[] {
  const risen = routes.filter(({ chip, pin }) =>
    chip === "ioapic"
      ? ioapicPinRose(before, after, pin)
      : picInputRose(before, after, chip as "pic1" | "pic2", pin),
  );
  return [...new Set(risen.map(({ gsi }) => gsi))].sort((a, b) => a - b);
}

function picInputRose(before: Chips, after: Chips, chip: "pic1" | "pic2", pin: Pin): boolean {
  const [was, is] = [before[chip], after[chip]];
  // The slave drives the cascade, whatever GSI 2 does.
  if (was === undefined || is === undefined || (chip === "pic1" && pin === CASCADE_PIN)) return false;
  const became = (field: keyof PicState) => !hasBit(was[field], pin) && hasBit(is[field], pin);
  if (became("last_irr") || became("irr")) return true;
  // A level is in service anew after each EOI, and an edge that was pending has merely been taken.
  return !hasBit(is.elcr, pin) && !hasBit(was.irr, pin) && became("isr");
}

function ioapicPinRose({ ioapic: was, lapic: lapicsBefore }: Chips, after: Chips, pin: Pin): boolean {
  const is = after.ioapic;
  const [entryBefore, entry] = [was?.redirtbl[pin], is?.redirtbl[pin]];
  if (was === undefined || is === undefined || entryBefore === undefined || entry === undefined) return false;
  if (!hasBit(was.irr, pin) && hasBit(is.irr, pin)) return true;
  if (entry.trig_mode === "level") {
    return !hasBit(was.irr, pin) && !entryBefore.remote_irr && entry.remote_irr;
  }
  return isOnlySender(entry, is.redirtbl) && vectorCame(entry.vector, lapicsBefore ?? [], after.lapic ?? []);
}

/** Whether a vector in a local APIC tells of this pin: it is open and no other open pin sends that vector. */
function isOnlySender(entry: RedirectionEntry, table: readonly RedirectionEntry[]): boolean {
  const sends = (one: RedirectionEntry) => !one.mask && hasVector(one.delivery_mode);
  return (
    sends(entry) && !table.some((other) => other !== entry && sends(other) && other.vector === entry.vector)
  );
}

function vectorCame(vector: Vector, before: readonly LapicState[], after: readonly LapicState[]): boolean {
  return after.some((is) => {
    const was = before.find(({ vcpu }) => vcpu === is.vcpu);
    if (was === undefined || was.irr.includes(vector)) return false;
    return is.irr.includes(vector) || (is.isr.includes(vector) && !was.isr.includes(vector));
  });
}
