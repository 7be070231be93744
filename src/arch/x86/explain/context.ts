import { hasBit, hex } from "../../../abi/bits.ts";
import type { IoapicState, RedirectionEntry } from "../ioapic/layout.ts";
import { destinationOf } from "../lapic/destination.ts";
import { type Cpu, cpusOf } from "../lapic/logic.ts";
import type { PicState } from "../pic/layout.ts";
import { type Acknowledge, acknowledge, afterRise, type PicPair } from "../pic/logic.ts";
import type { PinRoute } from "../routing.ts";
import type { Snapshot } from "../state.ts";
import type { MessageContext } from "./message.ts";

/** What the checks of the PIC way look at. */
export interface PicContext {
  gsi: number;
  chip: "pic1" | "pic2";
  pin: number;
  pic: PicState;
  pics: PicPair;
  /** Level-triggered, as ELCR says. */
  level: boolean;
  /** The input's level. */
  high: boolean;
  /** Edge-triggered, and an edge is waiting in IRR. */
  latched: boolean;
  /** Both PICs once the line has risen. */
  risen: PicPair;
  /** What an acknowledge would answer then. */
  answer: Acknowledge | undefined;
}

/** What the checks of the IOAPIC way look at. */
export interface IoapicContext extends MessageContext {
  gsi: number;
  pin: number;
  ioapic: IoapicState;
  entry: RedirectionEntry;
  /** The same line as a PIC sees it, where the GSI goes to one as well. */
  picInput: { high: boolean; evidence: string } | undefined;
}

/** A local APIC or a vCPU that a vector (or an NMI, or INTR) arrives at. */
export interface CpuContext {
  cpu: Cpu;
  /** `null` for delivery modes that have none. */
  vector: number | null;
  /** As redirection entries spell it; `extint` for the PIC way. */
  deliveryMode: RedirectionEntry["delivery_mode"];
  /** Whether a guest may run on this vCPU at all. */
  guest: boolean;
}

/** @returns `undefined` when the snapshot has not both PICs. */
export function picContext(snapshot: Snapshot, route: PinRoute): PicContext | undefined {
  const { pic1, pic2 } = snapshot.chips;
  if (pic1 === undefined || pic2 === undefined || route.chip === "ioapic") return undefined;
  const { gsi, chip, pin } = route;
  const pics = { pic1, pic2 };
  const pic = pics[chip];
  const level = hasBit(pic.elcr, pin);
  const risen = afterRise(pics, chip, pin);
  return {
    gsi,
    chip,
    pin,
    pic,
    pics,
    level,
    high: hasBit(pic.last_irr, pin),
    latched: !level && hasBit(pic.irr, pin),
    risen,
    answer: acknowledge(risen),
  };
}

/** @returns `undefined` when the snapshot has no IOAPIC, or it has no such pin. */
export function ioapicContext(
  snapshot: Snapshot,
  route: PinRoute,
  picRoute: PinRoute | undefined,
): IoapicContext | undefined {
  const { ioapic } = snapshot.chips;
  const entry = ioapic?.redirtbl[route.pin];
  if (ioapic === undefined || entry === undefined) return undefined;
  const cpus = cpusOf(snapshot);
  return {
    gsi: route.gsi,
    from: "ioapic",
    sender: `IOAPIC pin ${route.pin}`,
    evidence: {
      delivery_mode: `ioapic.redirtbl[${route.pin}].delivery_mode = ${entry.delivery_mode} (redirtbl[${route.pin}] bits 8-10)`,
      dest_id: `ioapic.redirtbl[${route.pin}].dest_id = ${hex(entry.dest_id)} (redirtbl[${route.pin}] bits 56-63)`,
    },
    pin: route.pin,
    ioapic,
    entry,
    cpus,
    destination: destinationOf(entry, cpus ?? []),
    picInput: picRoute && picInput(snapshot, picRoute),
  };
}

function picInput(snapshot: Snapshot, { chip, pin }: PinRoute): IoapicContext["picInput"] {
  const pic = chip === "ioapic" ? undefined : snapshot.chips[chip];
  if (pic === undefined) return undefined;
  const high = hasBit(pic.last_irr, pin);
  return { high, evidence: `${chip}.last_irr bit ${pin} ${high ? "set" : "clear"}` };
}
