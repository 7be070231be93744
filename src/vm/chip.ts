import { SIZEOF } from "../abi/ioctl.ts";

/** What is read and written as one piece: a chip, or the state of a vCPU. */

/** PIC1 is the master 8259, PIC2 the slave. A local APIC and a vCPU's state are named by vCPU number. */
export type ChipId = "pic1" | "pic2" | "ioapic" | `lapic[${number}]` | `vcpu[${number}]`;

export type ChipKind = "pic1" | "pic2" | "ioapic" | "lapic" | "vcpu";

/** The bytes of one chip, exactly as the kernel gives and takes them. */
export interface ChipImage {
  id: ChipId;
  bytes: Uint8Array;
}

/** One change of a GSI's level. */
export interface LineStep {
  gsi: number;
  level: 0 | 1;
}

/**
 * What `KVM_IRQ_LINE_STATUS` answers: the number of CPUs reached, 0 when coalesced with one that is
 * pending, negative when ignored. `null` where the kernel has only `KVM_IRQ_LINE`, which tells nothing.
 */
export type InjectionStatus = number | null;

const INDEXED = /^(lapic|vcpu)\[(\d+)\]$/;

/**
 * Takes a chip id apart.
 *
 * @returns the kind, and the vCPU for those kinds that have one.
 */
export function parseChipId(id: ChipId): { kind: ChipKind; vcpu: number } {
  const match = INDEXED.exec(id);
  if (match === null) return { kind: id as ChipKind, vcpu: 0 };
  return { kind: match[1] as ChipKind, vcpu: Number(match[2]) };
}

/** Whether a string is the id of a chip. */
export function isChipId(text: string): text is ChipId {
  return text === "pic1" || text === "pic2" || text === "ioapic" || INDEXED.test(text);
}

/** The kernel's number of a chip in `struct kvm_irqchip`: KVM_IRQCHIP_PIC_MASTER, _PIC_SLAVE, _IOAPIC. */
export const IRQCHIP_NUMBER: Readonly<Partial<Record<ChipKind, number>>> = { pic1: 0, pic2: 1, ioapic: 2 };

/** `KVM_MAX_VCPUS` of newer kernels. */
export const MOST_VCPUS = 4096;

/** Bytes of `struct kvm_irqchip` before the chip's own. */
export const IRQCHIP_HEADER = 8;

/** The bytes of a chip's state: `struct kvm_pic_state`, `kvm_ioapic_state`, `kvm_lapic_state`. */
export const STATE_SIZE = {
  pic1: SIZEOF.kvm_pic_state,
  pic2: SIZEOF.kvm_pic_state,
  ioapic: SIZEOF.kvm_ioapic_state,
  lapic: SIZEOF.kvm_lapic_state,
} as const;
