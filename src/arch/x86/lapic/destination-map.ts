import type { Vector } from "../../../abi/numbers.ts";
import type { Behaviour } from "../model/behaviour.ts";
import type { InterruptMessage, VcpuModel } from "../vcpu/model.ts";
import { BROADCAST } from "./layout.ts";

/** Lowest priority by vector hashing, KVM's default (its module parameter `vector_hashing`). */
export function chosenBy<T>(vector: Vector, candidates: readonly T[]): T {
  return candidates[vector % candidates.length]!;
}

/** Whether a message goes to one of the CPUs that it addresses. */
export function picksOne({ delivery_mode, redirection_hint }: InterruptMessage): boolean {
  return delivery_mode === "lowest-priority" || redirection_hint === true;
}

type LogicalModel = "flat" | "cluster";

/** APICs by their place: a cluster (0 in the flat model) and a bit. No model: no APIC has a logical id. */
interface LogicalMap {
  model: LogicalModel | undefined;
  places: Map<string, VcpuModel>;
}

/** The kernel's map of destinations. For a half that it could not make, it asks each APIC in turn. */
export interface DestinationMap {
  physical?: Map<number, VcpuModel>;
  logical?: LogicalMap;
}

/** Makes the map of these vCPUs' local APICs. */
export function makeMap(vcpus: readonly VcpuModel[], { exactMap }: Behaviour): DestinationMap {
  const physical = new Map<number, VcpuModel>();
  for (const vcpu of vcpus) {
    if (!physical.has(vcpu.lapic.id)) physical.set(vcpu.lapic.id, vcpu);
    else if (exactMap) return {};
  }
  const logical = makeLogicalMap(vcpus, exactMap);
  return logical === undefined ? { physical } : { physical, logical };
}

/**
 * Maps the logical ids of software-enabled APICs, those that have an LDR. Unless all use one model there is
 * no map; nor is there an exact one when an id has more than one bit or is taken.
 */
function makeLogicalMap(vcpus: readonly VcpuModel[], exact: boolean): LogicalMap | undefined {
  const lapics = vcpus.filter(({ lapic }) => lapic.softwareEnabled && lapic.ldr !== 0);
  const models = new Set(lapics.map(({ lapic }) => (lapic.logicalModel === "flat" ? "flat" : "cluster")));
  if (models.size > 1 || (models.size === 0 && !exact)) return undefined;
  const [model] = models;
  const places = new Map<string, VcpuModel>();
  for (const vcpu of lapics) {
    const [place, further] = placesOf(model, vcpu.lapic.logicalId);
    if (place === undefined) continue;
    if (exact && (further !== undefined || places.has(place))) return undefined;
    places.set(place, vcpu);
  }
  return { model, places };
}

/** The places that a logical id or destination names, lowest bit first. */
function placesOf(model: LogicalModel | undefined, logicalId: number): string[] {
  if (model === undefined) return [];
  const [cluster, bits] = model === "flat" ? [0, logicalId] : [logicalId >>> 4, logicalId & 0xf];
  return [0, 1, 2, 3, 4, 5, 6, 7].filter((bit) => bits & (1 << bit)).map((bit) => `${cluster}.${bit}`);
}

/**
 * The vCPUs that a message is for, by the map.
 *
 * @returns `undefined` when the map does not tell: for broadcasts, and for a half that it does not have.
 */
export function lookUp(map: DestinationMap, message: InterruptMessage): VcpuModel[] | undefined {
  if (message.dest_id === BROADCAST) return undefined;
  if (message.dest_mode === "logical") return map.logical && lookUpLogical(map.logical, message);
  return map.physical && present([map.physical.get(message.dest_id)]);
}

/**
 * A message that picks one CPU picks one of the destination's bits, whether or not an APIC has it: where
 * none has, the interrupt is lost.
 */
function lookUpLogical({ model, places }: LogicalMap, message: InterruptMessage): VcpuModel[] {
  const named = placesOf(model, message.dest_id);
  const lowest = picksOne(message) && named.length > 0;
  return present((lowest ? [chosenBy(message.vector, named)] : named).map((place) => places.get(place)));
}

function present(vcpus: (VcpuModel | undefined)[]): VcpuModel[] {
  return vcpus.filter((vcpu) => vcpu !== undefined);
}
