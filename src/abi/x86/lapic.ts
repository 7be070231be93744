import { SIZEOF } from "../ioctl.ts";
import { viewOf } from "../u64.ts";

/** Software enable of the spurious-interrupt vector register (Intel SDM vol. 3, figure 12-23). */
export const SVR_ENABLE = 1 << 8;
/** Suppress EOI broadcasts ("directed EOI") in the same register. */
export const SVR_DIRECTED_EOI = 1 << 12;
/** The mask of an entry of the local vector table (Intel SDM vol. 3, figure 12-8). */
export const LVT_MASKED = 1 << 16;

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

/** The 256-bit registers, a bit for each vector: eight words of 32 bits, one every 16 bytes. */
export const LAPIC_VECTOR_REGISTERS = { isr: 0x100, tmr: 0x180, irr: 0x200 } as const;

export type LapicVectorRegister = keyof typeof LAPIC_VECTOR_REGISTERS;

/**
 * A local APIC. Registers are 32-bit numbers as the page holds them (in xAPIC mode `id` and `ldr` have
 * their value in bits 24 to 31); ISR, TMR and IRR are lists of vectors, lowest first.
 */
export type LapicState = Record<LapicRegister, number> &
  Record<LapicVectorRegister, number[]> & {
    vcpu: number;
    /** Words that have no name, by offset (`"0x3f0"`), those that are not zero. Left out when there are none. */
    reserved?: Record<string, number>;
  };

const NAMED_OFFSETS = new Set<number>(Object.values(LAPIC_REGISTERS));
for (const base of Object.values(LAPIC_VECTOR_REGISTERS)) {
  for (let word = 0; word < 8; word++) NAMED_OFFSETS.add(base + word * 16);
}
const UNNAMED_OFFSETS: readonly number[] = Array.from(
  { length: SIZEOF.kvm_lapic_state / 4 },
  (_, word) => word * 4,
).filter((offset) => !NAMED_OFFSETS.has(offset));

/** The offsets that `reserved` may have, as it spells them. */
export const LAPIC_RESERVED_OFFSETS: ReadonlySet<string> = new Set(UNNAMED_OFFSETS.map(offsetName));

function offsetName(offset: number): string {
  return `0x${offset.toString(16).padStart(3, "0")}`;
}

/**
 * Decodes a `struct kvm_lapic_state`.
 *
 * @param bytes at least 1024 bytes; what follows is not looked at.
 * @param vcpu the vCPU that this local APIC belongs to.
 */
export function decodeLapic(bytes: Uint8Array, vcpu: number): LapicState {
  const view = viewOf(bytes);
  const state = { vcpu } as LapicState;
  for (const [name, offset] of Object.entries(LAPIC_REGISTERS)) {
    state[name as LapicRegister] = view.getUint32(offset, true);
  }
  for (const [name, base] of Object.entries(LAPIC_VECTOR_REGISTERS)) {
    state[name as LapicVectorRegister] = readVectors(view, base);
  }
  const reserved: Record<string, number> = {};
  for (const offset of UNNAMED_OFFSETS) {
    const word = view.getUint32(offset, true);
    if (word !== 0) reserved[offsetName(offset)] = word;
  }
  if (Object.keys(reserved).length > 0) state.reserved = reserved;
  return state;
}

/** Encodes a `struct kvm_lapic_state`: 1024 bytes, the exact inverse of {@link decodeLapic}. */
export function encodeLapic(state: LapicState): Uint8Array {
  const bytes = new Uint8Array(SIZEOF.kvm_lapic_state);
  const view = viewOf(bytes);
  for (const [name, offset] of Object.entries(LAPIC_REGISTERS)) {
    view.setUint32(offset, state[name as LapicRegister], true);
  }
  for (const [name, base] of Object.entries(LAPIC_VECTOR_REGISTERS)) {
    for (const vector of state[name as LapicVectorRegister]) {
      const offset = base + (vector >>> 5) * 16;
      view.setUint32(offset, view.getUint32(offset, true) | (1 << (vector & 31)), true);
    }
  }
  for (const [name, word] of Object.entries(state.reserved ?? {})) {
    view.setUint32(Number(name), word, true);
  }
  return bytes;
}

function readVectors(view: DataView, base: number): number[] {
  const vectors: number[] = [];
  for (let word = 0; word < 8; word++) {
    const bits = view.getUint32(base + word * 16, true);
    for (let bit = 0; bit < 32; bit++) {
      if ((bits >>> bit) & 1) vectors.push(word * 32 + bit);
    }
  }
  return vectors;
}
