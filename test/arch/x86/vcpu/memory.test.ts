import { describe, expect, it } from "vitest";
import type { KernelHost } from "../../../../src/arch/arch.ts";
import { decodeVcpu } from "../../../../src/arch/x86/vcpu/layout.ts";
import { type VcpuRead, vcpuImage } from "../../../../src/arch/x86/vcpu/memory.ts";

const REGISTERS = new Map([
  ["VCPU_EXREG_CR0", 18],
  ["VCPU_EXREG_RFLAGS", 21],
]);
const host: KernelHost = { enumOf: () => REGISTERS, has: () => true, vendor: "kvm_intel", nowNs: 0n };

const ARCH = {
  mp_state: 0,
  apic_base: 0xfee0_0900n,
  efer: 0n,
  regs_avail: 0,
  rip: 0x1000n,
  cr0: 0x11n,
  cr0_guest_owned: 8n,
} as VcpuRead["arch"];
const IF = 0x202n;

function read(vcpu: Partial<Omit<VcpuRead, "arch">> & { arch?: Partial<VcpuRead["arch"]> }) {
  const { bytes, unread } = vcpuImage(
    { mode: 0, payload: true, ...vcpu, arch: { ...ARCH, ...vcpu.arch } as VcpuRead["arch"] },
    host,
  )!;
  return { state: decodeVcpu(bytes, 0), unread };
}

describe("a vCPU's registers in kernel memory", () => {
  it("are those of KVM_GET_REGS once VMX has cached them, and unread before", () => {
    const kvm_intel = { rflags: IF };
    expect(read({ kvm_intel }).unread).toEqual(["rip", "rflags", "cr0", "interrupt.shadow", "nmi.masked"]);
    const { state, unread } = read({ kvm_intel, arch: { regs_avail: (1 << 16) | (1 << 18) | (1 << 21) } });
    expect(unread).toEqual(["interrupt.shadow", "nmi.masked"]);
    expect(state).toMatchObject({ rip: 0x1000, rflags: 0x202, cr0: 0x11 });
  });

  it("are in the VMCB with SVM, its one shadow bit standing for either cause", () => {
    const vmcb = { rflags: IF, int_state: 1, int_ctl: 0 };
    const { state, unread } = read({
      kvm_amd: { vmcb, nmi_masked: 1 },
      arch: { regs_avail: 1 << 16, cr0_guest_owned: 0n },
    });
    expect(unread).toEqual([]);
    expect(state).toMatchObject({ rflags: 0x202, interrupt: { shadow: 3 }, nmi: { masked: true } });
    const vnmi = { ...vmcb, int_ctl: 1 << 26 };
    expect(read({ kvm_amd: { vmcb: vnmi, nmi_masked: 1 } }).state.nmi.masked).toBe(false);
  });

  it("are in the CPU while it runs the guest, whatever memory says", () => {
    const { unread } = read({ mode: 1, kvm_intel: { rflags: IF }, arch: { regs_avail: 0xffff_ffff } });
    expect(unread).toEqual(["rip", "rflags", "cr0", "interrupt.shadow", "nmi.masked"]);
  });

  it("say nothing of flags where the module that drives the CPU is not known", () => {
    expect(read({ arch: { regs_avail: 0xffff_ffff } }).unread).toEqual([
      "rflags",
      "interrupt.shadow",
      "nmi.masked",
    ]);
  });
});

describe("a vCPU's events in kernel memory", () => {
  it("are reported as KVM_GET_VCPU_EVENTS does", () => {
    const events = (arch: Partial<VcpuRead["arch"]>, payload = true) => read({ arch, payload }).state;
    expect(events({ exception_pending: 1, exception_nr: 14 }).exception).toEqual({
      injected: false,
      pending: true,
      nr: 14,
    });
    expect(events({ exception_pending: 1, exception_nr: 14 }, false).exception.injected).toBe(true);
    expect(events({ exception_injected: 1, exception_nr: 3 }).exception.injected).toBe(false);
    expect(events({ interrupt_injected: 1, interrupt_soft: 1, interrupt_nr: 5 }).interrupt.injected).toBe(
      false,
    );
    expect(events({ nmi_pending: 2, nmi_queued: 2, nmi_injected: 1 }).nmi.pending).toBe(1);
    expect(events({ mp_state: 3, pv_unhalted: 1 }).mp_state).toBe("runnable");
    expect(events({ mp_state: 3 }).mp_state).toBe("halted");
  });
});
