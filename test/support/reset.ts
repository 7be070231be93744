import { decodeIoapic, IOAPIC } from "../../src/arch/x86/ioapic/layout.ts";
import { decodeLapic } from "../../src/arch/x86/lapic/layout.ts";
import { decodePic } from "../../src/arch/x86/pic/layout.ts";
import type { Chips } from "../../src/arch/x86/state.ts";
import type { VcpuState } from "../../src/arch/x86/vcpu/layout.ts";

/** The chips of a fresh VM, as KVM resets them. */
export function resetChips(vcpus: number): Chips & Required<Chips> {
  const ioapic = decodeIoapic(new Uint8Array(IOAPIC.size));
  return {
    pic1: { ...decodePic(new Uint8Array(16)), elcr_mask: 0xf8 },
    pic2: { ...decodePic(new Uint8Array(16)), elcr_mask: 0xde },
    ioapic: {
      ...ioapic,
      base_address: 0xfec0_0000,
      redirtbl: ioapic.redirtbl.map((entry) => ({ ...entry, mask: true })),
    },
    lapic: Array.from({ length: vcpus }, (_, vcpu) => ({
      ...decodeLapic(new Uint8Array(1024), vcpu),
      id: vcpu * 2 ** 24,
      version: 0x5_0014,
      dfr: 0xffff_ffff,
      svr: 0xff,
      lvt_timer: 0x1_0000,
      lvt_thermal: 0x1_0000,
      lvt_perf: 0x1_0000,
      lvt_lint0: vcpu === 0 ? 0x700 : 0x1_0000,
      lvt_lint1: 0x1_0000,
      lvt_error: 0x1_0000,
    })),
  };
}

/** A vCPU that runs with interrupts on, and nothing in its way. */
export function runningVcpu(vcpu: number, change: Partial<VcpuState> = {}): VcpuState {
  return {
    vcpu,
    mp_state: "runnable",
    rip: 0x10_0000,
    rflags: 0x202,
    cr0: 0x8000_0011,
    cr8: 0,
    efer: 0x500,
    apic_base: 0xfee0_0800 + (vcpu === 0 ? 0x100 : 0),
    exception: { injected: false, pending: false, nr: 0 },
    interrupt: { injected: false, nr: 0, soft: false, shadow: 0 },
    nmi: { injected: false, pending: 0, masked: false },
    smi: { smm: false, pending: false },
    ...change,
  };
}
