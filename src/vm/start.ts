import { HOST_ARCH } from "../arch/arches.ts";
import { type ChipImage, parseChipId } from "./chip.ts";
import type { Machine } from "./machine.ts";
import type { Routing } from "./routing.ts";

/** The state that a VM was saved in, for another one to start from. */
export interface SavedState {
  /** How messages name it. */
  label: string;
  /** vCPUs that a VM needs to have it. */
  vcpus: number;
  /** Chips in the order in which they are to be set, and vCPUs. */
  images: readonly ChipImage[];
  /** KVM's default when not given. */
  routing?: Routing;
}

/** A preset of the host's architecture. */
export type PresetName = keyof typeof HOST_ARCH.presets.words;

/** How a VM starts: in a state by name, or in a saved one. */
export type Start = PresetName | SavedState;

/**
 * Puts a fresh VM into the state that it is to start from. Chips are set as a restore does, so that they do
 * what the kernel does then: what the IOAPIC's `irr` holds is injected again.
 *
 * @throws KvmIrqError what the machine refuses.
 */
export function applyStart(machine: Machine, start: Start): void {
  if (typeof start === "string") {
    HOST_ARCH.presets.apply(machine, start);
    return;
  }
  if (start.routing !== undefined) machine.setRouting(start.routing);
  for (const image of start.images) {
    if (parseChipId(image.id).kind === "vcpu") machine.loadVcpu?.(image);
    else machine.writeChip(image);
  }
}
