import type { Vector } from "../../../abi/numbers.ts";
import { type ApicBus, type Delivery, matchesDestination } from "../lapic/bus.ts";
import type { VcpuModel } from "../vcpu/model.ts";
import type { RedirectionEntry } from "./layout.ts";

/** The pin of the real-time clock, the only one whose EOIs the kernel counts. */
export const RTC_PIN = 8;

/**
 * The EOIs that the RTC's interrupt waits for. The kernel coalesces GSI 8 until every CPU that got the
 * last one has ended it, so that a VMM learns of each tick whether the guest has seen it.
 */
export class RtcEois {
  readonly #bus: ApicBus;
  /** The vCPUs that were seen to take it, and the vector that each was sent. */
  readonly #expected = new Map<number, number>();
  #pending = 0;

  constructor(bus: ApicBus) {
    this.#bus = bus;
  }

  /** How many are awaited: above 0, a rise of the pin is coalesced. */
  get pending(): number {
    return this.#pending;
  }

  /** An interrupt of the pin went out. Those that were not fixed ones count too, though no EOI ends them. */
  started(vector: Vector, { status, fixed }: Delivery): void {
    for (const vcpu of fixed) this.#expected.set(vcpu, vector);
    this.#pending = Math.max(status, 0);
  }

  /** A vCPU ended a vector. */
  ended(vcpu: number, vector: Vector): void {
    if (this.#expected.get(vcpu) === vector) this.#remove(vcpu);
  }

  /** The IOAPIC was set: begins anew from what all local APICs hold. */
  restoreAll(entry: RedirectionEntry): void {
    this.#expected.clear();
    this.#pending = 0;
    for (const vcpu of this.#bus.vcpus) this.restore(vcpu, entry);
  }

  /** A local APIC was set: does it still, or newly, have the pin's vector pending or in service? */
  restore(vcpu: VcpuModel, entry: RedirectionEntry): void {
    if (!matchesDestination(vcpu, entry)) return;
    const awaited = vcpu.lapic.awaitsEoi(entry.vector);
    if (awaited === this.#expected.has(vcpu.index)) return;
    if (!awaited) {
      this.#remove(vcpu.index);
      return;
    }
    this.#expected.set(vcpu.index, entry.vector);
    this.#pending++;
  }

  #remove(vcpu: number): void {
    this.#expected.delete(vcpu);
    this.#pending = Math.max(this.#pending - 1, 0);
  }
}
