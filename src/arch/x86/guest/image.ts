import { viewOf } from "../../../abi/u64.ts";
import type { GuestCode } from "../../arch.ts";
import { REGS, SEGMENT, SEGMENTS, VCPU_SIZEOF } from "../vcpu/layout.ts";

/**
 * The guest's program as bytes. Its listing is guest.S beside this file, and a test assembles that and
 * compares.
 */

/** What the guest sets up: BX when it starts. */
export const GUEST_PROGRAM_NUMBER = { pic: 0, ioapic: 1 } as const;

/** Where things are in the guest's memory, by guest-physical address. */
export const GUEST_LAYOUT = {
  /** All of its memory, from 0 on. */
  size: 0x1_0000,
  start: 0x1000,
  counts: 0x5000,
  ready: 0x5400,
} as const;

/** The program, to be put at `GUEST_LAYOUT.start`. */
export const GUEST_IMAGE: Uint8Array = Uint8Array.from(
  Buffer.from(
    [
      "bc0080bf002031f6b90001c605e8b89e1029f8894501893cc74402000083c70483c604e2e6b011e6",
      "20e6a0b020e621b028e6a1b004e621b002e6a1b001e621e6a188d8f6d8e621e6a185db74476466c7",
      "06f000ff0100006631c967668d044d110000006566a300006566c70610000000000066486566a300",
      "0067668d413083f9107206660d008000006566a310004183f91872c666c706005401000000fbf4eb",
      "fc66505589e5660fb746062d0320c1e8026766f0ff0485005000003c2072223cff741e85db75103c",
      "30730c3c28b0207202e6a0e620eb0a6466c706b000000000005d665883c402cf",
    ].join(""),
    "hex",
  ),
);

/** FS and GS are at the pages of the APICs. */
const SEGMENT_BASES = { cs: 0, ds: 0, ss: 0, fs: 0xfee0_0000, gs: 0xfec0_0000 } as const;

/** The guest in real mode. */
export const guest: GuestCode = {
  image: GUEST_IMAGE,
  layout: GUEST_LAYOUT,
  // Where QEMU has it too: just below the BIOS.
  tss: 0xfffb_d000,
  registers(program, before) {
    const sregs = Uint8Array.from(before);
    for (const [segment, base] of Object.entries(SEGMENT_BASES)) {
      const at = SEGMENTS.indexOf(segment as keyof typeof SEGMENT_BASES) * SEGMENT.size;
      viewOf(sregs).setBigUint64(at, BigInt(base), true);
      viewOf(sregs).setUint16(at + SEGMENT.selector, 0, true);
    }
    const regs = new Uint8Array(VCPU_SIZEOF.kvm_regs);
    viewOf(regs).setBigUint64(REGS.rbx, BigInt(GUEST_PROGRAM_NUMBER[program]), true);
    viewOf(regs).setBigUint64(REGS.rip, BigInt(GUEST_LAYOUT.start), true);
    viewOf(regs).setBigUint64(REGS.rflags, 2n, true);
    return { regs, sregs };
  },
};
