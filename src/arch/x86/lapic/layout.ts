import {
  bitSet,
  bitwise,
  type Field,
  optional,
  type RecordOf,
  sparseWords,
  u32,
} from "../../../registers/field.ts";
import { struct } from "../../../registers/struct.ts";
import { DELIVERY_MODES } from "../../ioapic-layout.ts";

/** Software enable of the spurious-interrupt vector register (Intel SDM vol. 3, figure 12-23). */
export const SVR_ENABLE_BIT = 8;
/** Directed EOI in the same register: EOIs are not broadcast to the IOAPIC (Intel SDM vol. 3, 12.8.5). */
export const DIRECTED_EOI_BIT = 12;
/** The mask bit of every LVT entry (Intel SDM vol. 3, figure 12-8). */
export const LVT_MASK_BIT = 16;
/** The delivery mode of an LVT entry: the three bits from this one on. */
export const LVT_MODE_SHIFT = 8;
export const LVT_EXTINT = DELIVERY_MODES.indexOf("extint");

/** The code of an LVT entry's delivery mode. */
export function lvtMode(entry: number): number {
  return (entry >>> LVT_MODE_SHIFT) & 7;
}

/** The destination that all local APICs are addressed by, in physical mode. */
export const BROADCAST = 0xff;
/** The models that the destination format register chooses from (Intel SDM vol. 3, 12.6.2.2). */
export const DFR_FLAT = 0xffff_ffff;
export const DFR_CLUSTER = 0x0fff_ffff;

/**
 * The 32-bit registers of a local APIC by their offset in the register page, which is also their place
 * in `struct kvm_lapic_state` (Intel SDM vol. 3, table 12-1; offsets as in `<asm/apicdef.h>`).
 */
export const LAPIC_REGISTERS = {
  id: 0x020,
  version: 0x030,
  tpr: 0x080,
  apr: 0x090,
  ppr: 0x0a0,
  eoi: 0x0b0,
  rrd: 0x0c0,
  ldr: 0x0d0,
  dfr: 0x0e0,
  svr: 0x0f0,
  esr: 0x280,
  lvt_cmci: 0x2f0,
  icr: 0x300,
  icr2: 0x310,
  lvt_timer: 0x320,
  lvt_thermal: 0x330,
  lvt_perf: 0x340,
  lvt_lint0: 0x350,
  lvt_lint1: 0x360,
  lvt_error: 0x370,
  timer_initial: 0x380,
  timer_current: 0x390,
  timer_divide: 0x3e0,
} as const;

export type LapicRegister = keyof typeof LAPIC_REGISTERS;

/** Those whose bits mean something each. */
const BITWISE = /^(svr|esr|lvt_.*)$/;

/** The 256-bit registers, a bit for each vector: eight words of 32 bits, one every 16 bytes. */
export const LAPIC_VECTOR_REGISTERS = { isr: 0x100, tmr: 0x180, irr: 0x200 } as const;

export type LapicVectorRegister = keyof typeof LAPIC_VECTOR_REGISTERS;

/** `KVM_APIC_REG_SIZE`: what of the register page the structure has. */
const SIZE = 0x400;
const VECTOR_WORDS = 8;
/** A register every so many bytes. */
export const STRIDE = 16;

const NAMED = new Set<number>([
  ...Object.values(LAPIC_REGISTERS),
  ...Object.values(LAPIC_VECTOR_REGISTERS).flatMap((base) =>
    Array.from({ length: VECTOR_WORDS }, (_, word) => base + word * STRIDE),
  ),
]);
const UNNAMED = Array.from({ length: SIZE / 4 }, (_, word) => word * 4).filter((at) => !NAMED.has(at));

function each<K extends string, T>(
  offsets: Readonly<Record<K, number>>,
  make: (at: number, name: K) => Field<T>,
) {
  return Object.fromEntries(
    Object.entries<number>(offsets).map(([name, at]) => [name, make(at, name as K)]),
  ) as Record<K, Field<T>>;
}

/**
 * `struct kvm_lapic_state` of `<asm/kvm.h>`: the register page. Registers are 32-bit numbers as the page holds
 * them (in xAPIC mode `id` and `ldr` have their value in bits 24 to 31); ISR, TMR and IRR are lists of vectors,
 * lowest first; `reserved` has the words without a name that are not zero, by offset (`"0x3f0"`).
 */
export const LAPIC = struct("kvm_lapic_state", SIZE, {
  ...each(LAPIC_REGISTERS, (at, name) => (BITWISE.test(name) ? bitwise(u32(at)) : u32(at))),
  ...each(LAPIC_VECTOR_REGISTERS, (at) => bitSet(at, VECTOR_WORDS, STRIDE)),
  reserved: optional(sparseWords(UNNAMED)),
});

/** A local APIC, and the vCPU that it belongs to. */
export type LapicState = { vcpu: number } & RecordOf<typeof LAPIC.fields>;

/**
 * Decodes a `struct kvm_lapic_state`.
 *
 * @param bytes at least 1024 bytes; what follows is not looked at.
 * @param vcpu the vCPU that this local APIC belongs to.
 */
export function decodeLapic(bytes: Uint8Array, vcpu: number): LapicState {
  return { vcpu, ...LAPIC.decode(bytes) };
}

/** Encodes a `struct kvm_lapic_state`: 1024 bytes, the exact inverse of {@link decodeLapic}. */
export const encodeLapic: (state: LapicState) => Uint8Array = LAPIC.encode;
