import { SIZEOF } from "../ioctl.ts";
import { readU64, type U64, viewOf, writeU64 } from "../u64.ts";

/**
 * What decides whether a vCPU takes an interrupt, besides its local APIC: read only, and read as four
 * structures one behind the other: `kvm_regs`, `kvm_sregs`, `kvm_vcpu_events`, `kvm_mp_state`.
 */
export const VCPU_IMAGE = {
  regs: 0,
  sregs: SIZEOF.kvm_regs,
  events: SIZEOF.kvm_regs + SIZEOF.kvm_sregs,
  mp_state: SIZEOF.kvm_regs + SIZEOF.kvm_sregs + SIZEOF.kvm_vcpu_events,
  size: SIZEOF.kvm_regs + SIZEOF.kvm_sregs + SIZEOF.kvm_vcpu_events + SIZEOF.kvm_mp_state,
} as const;

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
export const APIC_BASE_X2APIC = 1 << 10;
export const APIC_BASE_ENABLE = 1 << 11;

/** RFLAGS.IF. */
export const RFLAGS_IF = 1 << 9;

/** A vCPU's state as far as it decides whether an interrupt is taken. */
export interface VcpuState {
  vcpu: number;
  mp_state: (typeof MP_STATES)[number] | `unknown-${number}`;
  rip: U64;
  rflags: U64;
  cr0: U64;
  cr8: U64;
  efer: U64;
  /** IA32_APIC_BASE: bit 11 the APIC's global enable, bit 10 x2APIC mode, bit 8 the bootstrap processor. */
  apic_base: U64;
  exception: { injected: boolean; pending: boolean; nr: number };
  /** `shadow`: bit 0 after MOV SS, bit 1 after STI. */
  interrupt: { injected: boolean; nr: number; soft: boolean; shadow: number };
  nmi: { injected: boolean; pending: number; masked: boolean };
  smi: { smm: boolean; pending: boolean };
  /**
   * Whether its thread was in KVM_RUN or at work on an exit: true; or slept elsewhere over some 20 ms, as when the
   * VM is paused or was never started: false. Absent where that is not known. Not part of the image.
   */
  run?: boolean;
}

/**
 * Decodes a vCPU image (see {@link VCPU_IMAGE} for its layout).
 *
 * @param bytes at least `VCPU_IMAGE.size` bytes.
 */
export function decodeVcpu(bytes: Uint8Array, vcpu: number): VcpuState {
  const view = viewOf(bytes);
  const { regs, sregs, events, mp_state } = VCPU_IMAGE;
  const flag = (offset: number) => bytes[offset] !== 0;
  const mp = view.getUint32(mp_state, true);
  return {
    vcpu,
    mp_state: MP_STATES[mp] ?? `unknown-${mp}`,
    rip: readU64(view, regs + 128),
    rflags: readU64(view, regs + 136),
    cr0: readU64(view, sregs + 224),
    cr8: readU64(view, sregs + 256),
    efer: readU64(view, sregs + 264),
    apic_base: readU64(view, sregs + 272),
    exception: { injected: flag(events), pending: flag(events + 3), nr: bytes[events + 1]! },
    interrupt: {
      injected: flag(events + 8),
      nr: bytes[events + 9]!,
      soft: flag(events + 10),
      shadow: bytes[events + 11]!,
    },
    nmi: { injected: flag(events + 12), pending: bytes[events + 13]!, masked: flag(events + 14) },
    smi: { smm: flag(events + 24), pending: flag(events + 25) },
  };
}

/**
 * Makes a vCPU image of decoded state. What {@link VcpuState} does not name is zero, so this is an inverse
 * for the decoded form, not for every byte.
 */
export function encodeVcpu(state: VcpuState): Uint8Array {
  const bytes = new Uint8Array(VCPU_IMAGE.size);
  putVcpu(bytes, state);
  return bytes;
}

/** Writes decoded state into a vCPU image. What {@link VcpuState} does not name stays as it is. */
export function putVcpu(bytes: Uint8Array, state: VcpuState): void {
  const view = viewOf(bytes);
  const { regs, sregs, events, mp_state } = VCPU_IMAGE;
  writeU64(view, regs + 128, state.rip);
  writeU64(view, regs + 136, state.rflags);
  writeU64(view, sregs + 224, state.cr0);
  writeU64(view, sregs + 256, state.cr8);
  writeU64(view, sregs + 264, state.efer);
  writeU64(view, sregs + 272, state.apic_base);
  const { exception, interrupt, nmi, smi } = state;
  bytes.set([Number(exception.injected), exception.nr], events);
  bytes[events + 3] = Number(exception.pending);
  bytes.set([Number(interrupt.injected), interrupt.nr, Number(interrupt.soft), interrupt.shadow], events + 8);
  bytes.set([Number(nmi.injected), nmi.pending, Number(nmi.masked)], events + 12);
  bytes.set([Number(smi.smm), Number(smi.pending)], events + 24);
  view.setUint32(mp_state, mpStateNumber(state.mp_state), true);
}

/** The number of a state as KVM_GET_MP_STATE gives it. */
export function mpStateNumber(state: VcpuState["mp_state"]): number {
  const known = MP_STATES.indexOf(state as (typeof MP_STATES)[number]);
  return known === -1 ? Number(state.slice("unknown-".length)) : known;
}
