import type { Behaviour } from "../model/behaviour.ts";
import type { InterruptMessage, VcpuModel } from "../vcpu/model.ts";
import { chosenBy, type DestinationMap, lookUp, makeMap, picksOne } from "./destination-map.ts";
import { BROADCAST } from "./layout.ts";

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
  readonly #behaviour: Behaviour;
  #map: DestinationMap;

  /** The kernel makes the map before it counts a new vCPU in, so that a fresh VM's lacks the last one.
   * Without vCPUs there is none. */
  constructor(vcpus: readonly VcpuModel[], behaviour: Behaviour) {
    this.vcpus = vcpus;
    this.#behaviour = behaviour;
    this.#map = vcpus.length === 0 ? {} : makeMap(vcpus.slice(0, -1), behaviour);
  }

  /** Makes the map anew, as KVM_SET_LAPIC and INIT do. */
  remap(): void {
    this.#map = makeMap(this.vcpus, this.#behaviour);
  }

  /** Sends a message to the local APICs that its destination names. */
  send(asSent: InterruptMessage): Delivery {
    const message = asDelivered(asSent);
    const found = lookUp(this.#map, message) ?? search(this.vcpus, message);
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
}

/** Broadcasts to physical ids that pick one CPU are delivered as fixed interrupts, NMIs with a hint too. */
function asDelivered(message: InterruptMessage): InterruptMessage {
  const broadcast = message.dest_mode === "physical" && message.dest_id === BROADCAST;
  return broadcast && picksOne(message) ? { ...message, delivery_mode: "fixed" } : message;
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
 * @returns `undefined` when none is concerned. A message that picks one CPU concerns only
 *   software-enabled ones: which of them gets it, its vector decides.
 */
function search(vcpus: readonly VcpuModel[], message: InterruptMessage): VcpuModel[] | undefined {
  const matching = vcpus.filter((vcpu) => matchesDestination(vcpu, message));
  if (!picksOne(message)) return matching.length > 0 ? matching : undefined;
  const enabled = matching.filter((vcpu) => vcpu.lapic.softwareEnabled);
  return enabled.length > 0 ? [chosenBy(message.vector, enabled)] : undefined;
}
