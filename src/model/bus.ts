import type { InterruptMessage, VcpuModel } from "./vcpu.ts";

/** An 8-bit destination that means every local APIC, in physical and logical mode alike. */
const BROADCAST = 0xff;

/** What became of a message. */
export interface Delivery {
  /** CPUs that took it; 0 when those addressed did not; -1 when the search met no APIC. */
  status: number;
  /** The vCPUs that took it as a fixed interrupt. */
  fixed: number[];
}

/**
 * What carries interrupt messages from the IOAPIC to local APICs.
 *
 * The kernel looks destinations up in a map that it makes of all APICs, and asks each APIC in turn only
 * for broadcasts and when the map can't be made. The two ways differ in what they answer when nobody is
 * there, and in which APICs take part, so the model has both.
 */
export class ApicBus {
  readonly vcpus: readonly VcpuModel[];
  #map: DestinationMap;

  /** The kernel makes the map before it counts a new vCPU in, so that a fresh VM's lacks the last one. */
  constructor(vcpus: readonly VcpuModel[]) {
    this.vcpus = vcpus;
    this.#map = makeMap(vcpus.slice(0, -1));
  }

  /** Makes the map anew, as KVM_SET_LAPIC and INIT do. */
  remap(): void {
    this.#map = makeMap(this.vcpus);
  }

  /** Sends a message to the local APICs that its destination names. */
  send(message: InterruptMessage): Delivery {
    const found = this.#lookUp(message) ?? search(this.vcpus, message);
    if (found === undefined) return { status: -1, fixed: [] };
    const fixed: number[] = [];
    let status = 0;
    for (const vcpu of found) {
      const outcome = vcpu.accept(message);
      if (outcome.taken) status++;
      if (outcome.fixed) fixed.push(vcpu.index);
    }
    return { status, fixed };
  }

  #lookUp(message: InterruptMessage): VcpuModel[] | undefined {
    if (message.dest_id === BROADCAST) return undefined;
    if (message.dest_mode === "logical") return lookUpLogical(this.#map.logical, message);
    return this.#map.physical && present([this.#map.physical.get(message.dest_id)]);
  }
}

/** Whether a local APIC answers to a destination (Intel SDM vol. 3, 12.6.2). */
export function matchesDestination(
  { lapic }: VcpuModel,
  { dest_id, dest_mode }: Pick<InterruptMessage, "dest_id" | "dest_mode">,
): boolean {
  if (dest_id === BROADCAST) return true;
  if (dest_mode === "physical") return lapic.id === dest_id;
  switch (lapic.logicalModel) {
    case "flat":
      return (lapic.logicalId & dest_id) !== 0;
    case "cluster":
      return lapic.logicalId >>> 4 === dest_id >>> 4 && (lapic.logicalId & dest_id & 0xf) !== 0;
    case "unknown":
      return false;
  }
}

/**
 * Asks each local APIC in turn.
 *
 * @returns `undefined` when none is concerned. A lowest-priority interrupt concerns only software-enabled
 *   ones, and goes to one of them: which one, its vector decides.
 */
function search(vcpus: readonly VcpuModel[], message: InterruptMessage): VcpuModel[] | undefined {
  const matching = vcpus.filter((vcpu) => matchesDestination(vcpu, message));
  const toAll = message.dest_mode === "physical" && message.dest_id === BROADCAST;
  if (message.delivery_mode !== "lowest-priority" || toAll) return matching.length > 0 ? matching : undefined;
  const enabled = matching.filter((vcpu) => vcpu.lapic.softwareEnabled);
  return enabled.length > 0 ? [chosenBy(message.vector, enabled)] : undefined;
}

/** Lowest priority by vector hashing, KVM's default (its module parameter `vector_hashing`). */
function chosenBy<T>(vector: number, candidates: readonly T[]): T {
  return candidates[vector % candidates.length]!;
}

/** A logical id's place: its cluster (0 in the flat model) and the bit in it. */
type LogicalMap = { model: "none" | "flat" | "cluster"; places: Map<string, VcpuModel> };

/** Missing halves are those that the kernel can't map: it then searches. */
interface DestinationMap {
  physical?: Map<number, VcpuModel>;
  logical?: LogicalMap;
}

/** Two local APICs of one id leave the kernel without any map. */
function makeMap(vcpus: readonly VcpuModel[]): DestinationMap {
  const physical = new Map(vcpus.map((vcpu) => [vcpu.lapic.id, vcpu]));
  if (physical.size < vcpus.length) return {};
  const logical = makeLogicalMap(vcpus);
  return logical === undefined ? { physical } : { physical, logical };
}

/**
 * Maps the logical ids of software-enabled APICs, those that have an LDR. It can't be done when they do
 * not use one model, or when an id has more than one bit or is taken.
 */
function makeLogicalMap(vcpus: readonly VcpuModel[]): LogicalMap | undefined {
  const map: LogicalMap = { model: "none", places: new Map() };
  for (const vcpu of vcpus) {
    const { lapic } = vcpu;
    if (!lapic.softwareEnabled || lapic.ldr === 0) continue;
    const model = lapic.logicalModel === "flat" ? "flat" : "cluster";
    if (map.model !== "none" && map.model !== model) return undefined;
    map.model = model;
    const [place, further] = placesOf(model, lapic.logicalId);
    if (place === undefined) continue;
    if (further !== undefined || map.places.has(place)) return undefined;
    map.places.set(place, vcpu);
  }
  return map;
}

/** The places that a logical id or destination names. */
function placesOf(model: "none" | "flat" | "cluster", logicalId: number): string[] {
  if (model === "none") return [];
  const [cluster, bits] = model === "flat" ? [0, logicalId] : [logicalId >>> 4, logicalId & 0xf];
  return [0, 1, 2, 3, 4, 5, 6, 7].filter((bit) => bits & (1 << bit)).map((bit) => `${cluster}.${bit}`);
}

/**
 * A lowest-priority interrupt picks one of the destination's bits, whether or not an APIC has it: where
 * none has, the interrupt is lost.
 */
function lookUpLogical(map: LogicalMap | undefined, message: InterruptMessage): VcpuModel[] | undefined {
  if (map === undefined) return undefined;
  const places = placesOf(map.model, message.dest_id);
  const picked =
    message.delivery_mode === "lowest-priority" && places.length > 0
      ? [chosenBy(message.vector, places)]
      : places;
  return present(picked.map((place) => map.places.get(place)));
}

function present(vcpus: (VcpuModel | undefined)[]): VcpuModel[] {
  return vcpus.filter((vcpu) => vcpu !== undefined);
}
