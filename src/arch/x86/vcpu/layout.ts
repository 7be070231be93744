import {
  bitwise,
  flagByte,
  openWord,
  perhaps,
  type RecordOf,
  record,
  u8,
  u32,
  u64,
} from "../../../registers/field.ts";
import { struct } from "../../../registers/struct.ts";
import type { VcpuState as AnyVcpuState } from "../../../vm/chip.ts";

/** Bytes of a vCPU's structures, in `<asm/kvm.h>` and, the last, `<linux/kvm.h>`. */
export const VCPU_SIZEOF = { kvm_regs: 144, kvm_sregs: 312, kvm_vcpu_events: 64, kvm_mp_state: 4 } as const;

/**
 * What decides whether a vCPU takes an interrupt, besides its local APIC: read only, and read as four
 * structures one behind the other: `kvm_regs`, `kvm_sregs`, `kvm_vcpu_events`, `kvm_mp_state`.
 */
export const VCPU_IMAGE = {
  regs: 0,
  sregs: VCPU_SIZEOF.kvm_regs,
  events: VCPU_SIZEOF.kvm_regs + VCPU_SIZEOF.kvm_sregs,
  mp_state: VCPU_SIZEOF.kvm_regs + VCPU_SIZEOF.kvm_sregs + VCPU_SIZEOF.kvm_vcpu_events,
  size: VCPU_SIZEOF.kvm_regs + VCPU_SIZEOF.kvm_sregs + VCPU_SIZEOF.kvm_vcpu_events + VCPU_SIZEOF.kvm_mp_state,
} as const;

/** The ioctls that fill them. */
export const VCPU_PARTS = [
  { get: "KVM_GET_REGS", size: VCPU_SIZEOF.kvm_regs },
  { get: "KVM_GET_SREGS", size: VCPU_SIZEOF.kvm_sregs },
  { get: "KVM_GET_VCPU_EVENTS", size: VCPU_SIZEOF.kvm_vcpu_events },
  { get: "KVM_GET_MP_STATE", size: VCPU_SIZEOF.kvm_mp_state },
] as const;

/** `KVM_MP_STATE_*` of `<linux/kvm.h>` by number, those that x86 uses. */
export const MP_STATES = ["runnable", "uninitialized", "init_received", "halted", "sipi_received"] as const;

/** `KVM_X86_SHADOW_INT_MOV_SS` and `KVM_X86_SHADOW_INT_STI` of `<asm/kvm.h>`. */
const SHADOW_MOV_SS = 1;
const SHADOW_STI = 2;

/** What an interrupt shadow came of, as far as KVM tells: on SVM it sets both bits for either. */
export function shadowCause(shadow: number): string {
  const causes = [(shadow & SHADOW_STI) !== 0 && "STI", (shadow & SHADOW_MOV_SS) !== 0 && "MOV SS"];
  return causes.filter((cause) => cause !== false).join(" or ");
}

/** IA32_APIC_BASE's x2APIC mode, and its global enable (Intel SDM vol. 3, figure 12-26). */
export const APIC_BASE_X2APIC_BIT = 10;
export const APIC_BASE_ENABLE_BIT = 11;

/** RFLAGS.IF. */
export const IF_BIT = 9;
export const RFLAGS_IF = 1 << IF_BIT;

/** Offsets in `struct kvm_regs`, `kvm_sregs` and `kvm_vcpu_events` of `<asm/kvm.h>`. */
export const REGS = { rbx: 8, rdx: 24, rip: 128, rflags: 136 } as const;
export const SREGS = { gdt: 192, idt: 208, cr0: 224, cr8: 256, efer: 264, apic_base: 272 } as const;
export const EVENTS = {
  exception: 0,
  interrupt: 8,
  nmi: 12,
  nmi_pending: 13,
  flags: 20,
  smi: 24,
  smi_pending: 25,
  smi_latched_init: 27,
} as const;
/** `struct kvm_segment`, and those that `kvm_sregs` begins with; tr and ldt follow. */
export const SEGMENT = { size: 24, limit: 8, selector: 12, type: 14, present: 15, s: 18 } as const;
export const SEGMENTS = ["cs", "ds", "es", "fs", "gs", "ss"] as const;

const { regs, sregs, events, mp_state } = VCPU_IMAGE;

/** The fields of those structures that are looked at, by their place in the four together. */
export const VCPU = struct("kvm_regs, kvm_sregs, kvm_vcpu_events, kvm_mp_state", VCPU_IMAGE.size, {
  mp_state: openWord(u32(mp_state), MP_STATES),
  rip: perhaps(u64(regs + REGS.rip)),
  rflags: perhaps(bitwise(u64(regs + REGS.rflags))),
  cr0: perhaps(bitwise(u64(sregs + SREGS.cr0))),
  cr8: u64(sregs + SREGS.cr8),
  efer: bitwise(u64(sregs + SREGS.efer)),
  /** IA32_APIC_BASE: bit 11 the APIC's global enable, bit 10 x2APIC mode, bit 8 the bootstrap processor. */
  apic_base: bitwise(u64(sregs + SREGS.apic_base)),
  exception: record(events + EVENTS.exception, { injected: flagByte(0), pending: flagByte(3), nr: u8(1) }),
  interrupt: record(events + EVENTS.interrupt, {
    injected: flagByte(0),
    nr: u8(1),
    soft: flagByte(2),
    /** Bit 0 after MOV SS, bit 1 after STI. */
    shadow: perhaps(bitwise(u8(3))),
  }),
  nmi: record(events + EVENTS.nmi, { injected: flagByte(0), pending: u8(1), masked: perhaps(flagByte(2)) }),
  smi: record(events + EVENTS.smi, { smm: flagByte(0), pending: flagByte(1) }),
});

/** A vCPU's state as far as it decides whether an interrupt is taken. */
export type VcpuState = AnyVcpuState & RecordOf<typeof VCPU.fields>;

/**
 * Decodes a vCPU image (see {@link VCPU_IMAGE} for its layout).
 *
 * @param bytes at least `VCPU_IMAGE.size` bytes.
 */
export function decodeVcpu(bytes: Uint8Array, vcpu: number): VcpuState {
  return { vcpu, ...VCPU.decode(bytes) };
}

/**
 * Makes a vCPU image of decoded state. What {@link VcpuState} does not name is zero, so this is an inverse
 * for the decoded form, not for every byte.
 */
export const encodeVcpu: (state: VcpuState) => Uint8Array = VCPU.encode;
/** Writes decoded state into a vCPU image. What {@link VcpuState} does not name stays as it is. */
export const putVcpu: (bytes: Uint8Array, state: VcpuState) => void = VCPU.put;
