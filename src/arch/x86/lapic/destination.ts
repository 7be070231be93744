import { bitsOf } from "../../../abi/bits.ts";
import type { Vector } from "../../../abi/numbers.ts";
import type { RedirectionEntry } from "../ioapic/layout.ts";
import { BROADCAST, DFR_CLUSTER, DFR_FLAT } from "./layout.ts";
import { apicId, type Cpu, softwareEnabled } from "./logic.ts";

export { BROADCAST } from "./layout.ts";

/** What an IOAPIC entry or an MSI sends. */
export interface Message
  extends Pick<RedirectionEntry, "vector" | "delivery_mode" | "dest_mode" | "dest_id" | "trig_mode"> {
  /** Of an MSI: one of those addressed is to be picked, as for lowest priority. */
  redirection_hint?: boolean;
}

/** Whether a delivery mode puts a vector into the IRR. */
export function hasVector(mode: RedirectionEntry["delivery_mode"]): boolean {
  return mode === "fixed" || mode === "lowest-priority";
}

/** Who a message is for. */
export interface Destination {
  /** The local APICs that take part: for lowest priority, the one chosen. */
  cpus: Cpu[];
  /** Those that the destination names. More than `cpus` for lowest priority, which picks one. */
  named: Cpu[];
  /** Those that it would name, were they not off by IA32_APIC_BASE. */
  off: Cpu[];
}

/** Whom a message is for: those that are off when all are. */
export function addressees({ destination: { cpus, off } }: { destination: Destination }): Cpu[] {
  return cpus.length > 0 ? cpus : off;
}

/**
 * Whom KVM delivers a message to, as its destination and delivery mode say.
 *
 * KVM looks a destination up in tables where it can and asks each local APIC where it can't. The two agree
 * but for lowest priority: the tables choose by the vector among all bits of a logical destination, those
 * that no local APIC has included, and a message for such a one is lost.
 */
export function destinationOf(entry: Message, cpus: readonly Cpu[]): Destination {
  const present = cpus.filter(({ mode }) => mode !== "disabled");
  const off = cpus.filter((cpu) => cpu.mode === "disabled" && matches(entry, cpu));
  const tabled = entry.dest_id !== BROADCAST && physicalIdsDiffer(present);
  const slots = tabled ? tables(entry, present) : undefined;
  const named = slots?.filter((cpu) => cpu !== undefined) ?? present.filter((cpu) => matches(entry, cpu));
  if (!choosesOne(entry, slots !== undefined)) return { cpus: named, named, off };
  return { cpus: chosen(entry.vector, slots ?? named.filter(softwareEnabled)), named, off };
}

/**
 * Whether lowest priority counts: not for a physical destination in the tables, nor for its broadcast unless
 * an MSI has the hint.
 */
function choosesOne(entry: Message, tabled: boolean): boolean {
  const hinted = entry.redirection_hint === true;
  if (entry.delivery_mode !== "lowest-priority" && !hinted) return false;
  return entry.dest_mode === "logical" || (entry.dest_id === BROADCAST ? hinted : !tabled);
}

/** KVM's choice for lowest priority: the slot whose number is the vector modulo the slots. */
function chosen(vector: Vector, slots: readonly (Cpu | undefined)[]): Cpu[] {
  const cpu = slots[vector % slots.length];
  return cpu === undefined ? [] : [cpu];
}

function physicalIdsDiffer(cpus: readonly Cpu[]): boolean {
  return new Set(cpus.map(apicId)).size === cpus.length;
}

/** Where a local APIC stands in a logical destination: a bit, within a cluster. */
interface Slot {
  cluster: number;
  bit: number;
}

type LogicalModel = "flat" | "cluster" | "x2apic";

/**
 * The slots that KVM's tables give for a destination: for a logical one, one for each bit of its mask.
 *
 * @returns `undefined` when the tables can't tell: local APICs that differ in their logical model, share a
 *   bit, or have several.
 */
function tables(entry: Message, cpus: readonly Cpu[]): (Cpu | undefined)[] | undefined {
  if (entry.dest_mode === "physical") return [cpus.find((cpu) => apicId(cpu) === entry.dest_id)];
  const members = cpus.filter((cpu) => softwareEnabled(cpu) && cpu.lapic.ldr !== 0);
  const model = members[0] && logicalModel(members[0]);
  if (model === undefined) return [];
  if (members.some((cpu) => logicalModel(cpu) !== model)) return undefined;
  const placed = new Map<string, Cpu>();
  if (model === "x2apic") {
    // The logical ids follow from the others, so KVM looks them up there, where software-disabled APICs are too.
    for (const cpu of cpus) placed.set(slotName(x2apicSlot(apicId(cpu))), cpu);
    return slotsNamed(entry.dest_id, model).map((slot) => placed.get(slotName(slot)));
  }
  for (const cpu of members) {
    const { cluster, mask } = logicalPlace(cpu);
    if (mask === 0) continue;
    const bits = bitsOf(mask);
    const name = slotName({ cluster, bit: bits[0]! });
    if (bits.length > 1 || placed.has(name)) return undefined;
    placed.set(name, cpu);
  }
  return slotsNamed(entry.dest_id, model).map((slot) => placed.get(slotName(slot)));
}

/** The place of an x2APIC id among logical ids (Intel SDM vol. 3, 12.12.10.2). */
function x2apicSlot(id: number): Slot {
  return { cluster: id >> 4, bit: id & 0xf };
}

function slotName({ cluster, bit }: Slot): string {
  return `${cluster}:${bit}`;
}

/** The slots that a logical destination names: of 32 bits in the x2APIC model, the cluster in the upper half. */
function slotsNamed(destId: number, model: LogicalModel): Slot[] {
  if (model === "x2apic") return bitsOf(destId & 0xffff).map((bit) => ({ cluster: destId >>> 16, bit }));
  const [cluster, mask] = model === "cluster" ? [destId >> 4, destId & 0xf] : [0, destId & 0xff];
  return bitsOf(mask).map((bit) => ({ cluster, bit }));
}

/** KVM's tables take every DFR but the flat one for the cluster model. */
function logicalModel({ mode, lapic }: Cpu): LogicalModel {
  if (mode === "x2apic") return "x2apic";
  return lapic.dfr === DFR_FLAT ? "flat" : "cluster";
}

/** A local APIC's logical id: its cluster (0 in the flat model), and its bits there. */
function logicalPlace(cpu: Cpu): { cluster: number; mask: number } {
  const id = cpu.lapic.ldr >>> 24;
  switch (logicalModel(cpu)) {
    case "x2apic": {
      const { cluster, bit } = x2apicSlot(apicId(cpu));
      return { cluster, mask: 1 << bit };
    }
    case "cluster":
      return { cluster: id >> 4, mask: id & 0xf };
    case "flat":
      return { cluster: 0, mask: id };
  }
}

/** Whether a local APIC by itself takes a destination for its own (Intel SDM vol. 3, 12.6.2). */
export function matches(entry: Message, cpu: Cpu): boolean {
  if (entry.dest_id === BROADCAST) return true;
  if (entry.dest_mode === "physical") return apicId(cpu) === entry.dest_id;
  if (cpu.mode !== "x2apic" && cpu.lapic.dfr !== DFR_FLAT && cpu.lapic.dfr !== DFR_CLUSTER) return false;
  const { cluster, mask } = logicalPlace(cpu);
  return slotsNamed(entry.dest_id, logicalModel(cpu)).some(
    (slot) => slot.cluster === cluster && (mask >> slot.bit) & 1,
  );
}
