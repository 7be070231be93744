import type { Gsi } from "../abi/numbers.ts";

/** What is read and written as one piece: a chip, or the state of a vCPU. */

/** As `--chip` names it: `pic1`, `ioapic`; what each vCPU has one of by the vCPU's number: `lapic[0]`, `vcpu[0]`. */
export type ChipId = string;

/** Decoded chips by name, those that each vCPU has one of as a list. What is in them, the architecture says. */
export interface Chips {
  [name: string]: unknown;
}

/** A vCPU's decoded state, of which the architecture knows more. */
export interface VcpuState {
  vcpu: number;
  /**
   * Whether its thread was in KVM_RUN or at work on an exit: true; or slept elsewhere over some 20 ms, as when the
   * VM is paused or was never started: false. Absent where that is not known. Not part of the image.
   */
  run?: boolean;
}

/** The bytes of one chip, exactly as the kernel gives and takes them. */
export interface ChipImage {
  id: ChipId;
  bytes: Uint8Array;
  /** Fields that could not be read, by their paths in decoded state, which leaves them out. */
  unread?: readonly string[];
}

/** One change of a GSI's level. */
export interface LineStep {
  gsi: Gsi;
  level: 0 | 1;
}

/**
 * What `KVM_IRQ_LINE_STATUS` answers: the number of CPUs reached, 0 when coalesced with one that is
 * pending, negative when ignored. `null` where the kernel has only `KVM_IRQ_LINE`, which tells nothing.
 */
export type InjectionStatus = number | null;

const INDEXED = /^(\w+)\[(\d+)\]$/;

/**
 * Takes a chip id apart.
 *
 * @returns the kind, and the vCPU for those kinds that have one.
 */
export function parseChipId(id: ChipId): { kind: string; vcpu: number } {
  const match = INDEXED.exec(id);
  return match === null ? { kind: id, vcpu: 0 } : { kind: match[1]!, vcpu: Number(match[2]) };
}

/** `KVM_MAX_VCPUS` of newer kernels. */
export const MOST_VCPUS = 4096;

/** Bytes of `struct kvm_irqchip` before the chip's own. */
export const IRQCHIP_HEADER = 8;
