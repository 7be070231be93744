import { strandOf, type TraceEvent } from "../../../tracefs/event.ts";
import { messageOf } from "../events/args.ts";
import { MSI_ADDRESS_BASE } from "../msi.ts";
import type { Chain } from "./life.ts";

/** How close KVM's looks at two routes of one table are at most, in nanoseconds; seen were up to 2 us. */
const TOGETHER = 10_000;

interface Unanswered {
  event: TraceEvent;
  chain: Chain;
  isLook: boolean;
}

/**
 * MSIs that no local APIC was offered: those sent to nobody, and those that nobody sent.
 *
 * `kvm_msi_set_irq` tells that KVM worked out what an MSI means. It does so for a route that it only looks at,
 * too: with a split irqchip a vCPU goes through the whole table whenever that has changed, to learn which
 * vectors' EOIs the VMM wants to hear of.
 */
export class UnansweredMsis {
  readonly #all = new Map<Chain, Unanswered>();
  readonly #lastOfStrand = new Map<number, Unanswered>();
  readonly #vcpuThreads = new Set<number>();

  /** Remembers that the thread of this event runs a vCPU. */
  isVcpu({ pid }: TraceEvent): void {
    this.#vcpuThreads.add(pid);
  }

  /** @param event the `kvm_msi_set_irq` that this chain came of, not through a GSI. */
  add(event: TraceEvent, chain: Chain): void {
    const before = this.#lastOfStrand.get(strandOf(event));
    const now = { event, chain, isLook: !isMsi(event) };
    if (before !== undefined && isOneGoThrough(before.event, event)) {
      before.isLook = true;
      now.isLook = true;
    }
    this.#lastOfStrand.set(strandOf(event), now);
    this.#all.set(chain, now);
  }

  /** Whether a chain is one of those that were not sent, as far as can be told now. It is asked for once. */
  isLook(chain: Chain): boolean {
    const unanswered = this.#all.get(chain);
    if (unanswered === undefined) return false;
    this.#all.delete(chain);
    return unanswered.isLook || this.#vcpuThreads.has(unanswered.event.pid);
  }
}

/** A pin that is not in use has a route with address 0. */
function isMsi(event: TraceEvent): boolean {
  return (messageOf(event).address & 0xfff0_0000n) === BigInt(MSI_ADDRESS_BASE);
}

/** A table has different routes; a device that sends to nobody may well repeat itself. */
function isOneGoThrough(one: TraceEvent, other: TraceEvent): boolean {
  const [first, second] = [messageOf(one), messageOf(other)];
  const differ = first.address !== second.address || first.data !== second.data;
  return differ && other.time - one.time < TOGETHER;
}
