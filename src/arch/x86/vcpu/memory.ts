import { hasBit } from "../../../abi/bits.ts";
import { toU64 } from "../../../abi/u64.ts";
import {
  around,
  moving,
  type NodeOf,
  number,
  packed,
  pointer,
  structure,
  wide,
} from "../../../registers/memory.ts";
import type { KernelHost } from "../../arch.ts";
import { LAPIC_MEMORY } from "../lapic/memory.ts";
import { encodeVcpu, MP_STATES, type VcpuState } from "./layout.ts";

const queued = (field: string) => ({
  pending: number(`${field}.pending`),
  injected: number(`${field}.injected`),
});
const first = queued("exception");
const vmexit = queued("exception_vmexit");

/** What KVM keeps of a vCPU, whatever the CPU (arch/x86/include/asm/kvm_host.h). */
export const VCPU_MEMORY = structure("kvm_vcpu_arch", {
  apic: pointer(LAPIC_MEMORY, "apic"),
  mp_state: number("mp_state"),
  pv_unhalted: number("pv.pv_unhalted"),
  apic_base: wide("apic_base"),
  regs_avail: moving(number("regs_avail")),
  rip: moving(wide("regs[16]")),
  cr0: moving(wide("cr0")),
  cr0_guest_owned: moving(wide("cr0_guest_owned_bits")),
  cr8: moving(wide("cr8")),
  efer: wide("efer"),
  hflags: number("hflags"),
  exception_pending: first.pending,
  exception_injected: first.injected,
  exception_nr: number("exception.vector", "exception.nr"),
  vmexit_pending: vmexit.pending,
  vmexit_nr: number("exception_vmexit.vector"),
  interrupt_injected: number("interrupt.injected"),
  interrupt_soft: number("interrupt.soft"),
  interrupt_nr: number("interrupt.nr"),
  nmi_queued: number("nmi_queued.counter"),
  nmi_pending: number("nmi_pending"),
  nmi_injected: number("nmi_injected"),
  smi_pending: number("smi_pending"),
  /** In `struct kvm_lapic` from 6.1 on. */
  apicv_active: number("apicv_active"),
});

const VMCB = structure("vmcb", {
  rflags: moving(wide("save.rflags")),
  int_state: moving(number("control.int_state")),
  int_ctl: moving(number("control.int_ctl")),
});

/**
 * What the module that drives this CPU keeps beside it, by the module's name: arch/x86/kvm/vmx/vmx.h, svm/svm.h, and
 * that of the pagetable-switching PVM. What a VMCS has, no memory shows.
 */
export const VENDOR_MEMORY = {
  kvm_intel: around(
    structure("vcpu_vmx", {
      rflags: moving(wide("rflags")),
      // In `struct vcpu_vt` from 6.16 on.
      pir: moving(packed("pi_desc.pir")),
      pir_vt: moving(packed("vt.pi_desc.pir")),
      pi_control: moving(wide("pi_desc.control", "vt.pi_desc.control")),
    }),
    "vcpu",
  ),
  kvm_amd: around(
    structure("vcpu_svm", { vmcb: pointer(VMCB, "vmcb"), nmi_masked: moving(number("nmi_masked")) }),
    "vcpu",
  ),
  kvm_pvm: around(
    structure("vcpu_pvm", {
      rflags: moving(wide("rflags")),
      shadow: moving(number("interrupt_shadow")),
      nmi_masked: moving(number("nmi_masked", "nmi_mask")),
    }),
    "vcpu",
  ),
} as const;
export type Vendor = keyof typeof VENDOR_MEMORY;

type Read<V> = V extends { gives?: infer T } ? T : never;
/** What was read of a vCPU. */
export interface VcpuRead {
  arch: NodeOf<typeof VCPU_MEMORY>;
  /** `kvm_vcpu.mode`: 0 outside of the guest. */
  mode: number;
  /** KVM_CAP_EXCEPTION_PAYLOAD: without it a pending exception counts as injected. */
  payload: boolean;
  kvm_intel?: Read<(typeof VENDOR_MEMORY)["kvm_intel"]> | undefined;
  kvm_amd?: Read<(typeof VENDOR_MEMORY)["kvm_amd"]> | undefined;
  kvm_pvm?: Read<(typeof VENDOR_MEMORY)["kvm_pvm"]> | undefined;
}

/** Of `enum kvm_reg`, bits of `regs_avail`. */
const RIP = 16;
const CR0 = "VCPU_EXREG_CR0";
const RFLAGS = "VCPU_EXREG_RFLAGS";
/** SVM_INTERRUPT_SHADOW_MASK and V_NMI_{BLOCKING,ENABLE}_MASK of arch/x86/include/asm/svm.h. */
const SVM_SHADOW_BIT = 0;
const V_NMI_BLOCKING_BIT = 12;
const V_NMI_ENABLE_BIT = 26;

/** What is in the CPU while it runs the guest, and else in memory, if anywhere. */
interface Registers {
  rip?: bigint | undefined;
  rflags?: bigint | undefined;
  cr0?: bigint | undefined;
  shadow?: number | undefined;
  nmiMasked?: boolean | undefined;
}

function registersOf(vcpu: VcpuRead, { enumOf }: KernelHost): Registers {
  const { arch, mode, kvm_intel, kvm_amd, kvm_pvm } = vcpu;
  if (mode !== 0) return {};
  const bits = enumOf("kvm_reg");
  const isCached = (bit: number | undefined) => bit !== undefined && hasBit(arch.regs_avail ?? 0, bit);
  const all: Registers = {
    rip: isCached(RIP) ? arch.rip : undefined,
    cr0: isCached(bits?.get(CR0)) || arch.cr0_guest_owned === 0n ? arch.cr0 : undefined,
  };
  if (kvm_intel !== undefined) {
    return { ...all, rflags: isCached(bits?.get(RFLAGS)) ? kvm_intel.rflags : undefined };
  }
  if (kvm_pvm !== undefined) {
    const { rflags, shadow, nmi_masked: masked } = kvm_pvm;
    return { ...all, rflags, shadow, nmiMasked: masked === undefined ? undefined : masked !== 0 };
  }
  const vmcb = kvm_amd?.vmcb;
  if (vmcb?.int_state === undefined) return all;
  const shadow = hasBit(vmcb.int_state, SVM_SHADOW_BIT) ? 3 : 0;
  return { ...all, rflags: vmcb.rflags, shadow, nmiMasked: svmNmiMasked(vcpu) };
}

/** Before 6.3 it is a bit of hflags (HF_NMI_MASK), which has no name in BTF. */
function svmNmiMasked({ kvm_amd, arch: { hflags } }: VcpuRead): boolean | undefined {
  const control = kvm_amd?.vmcb?.int_ctl ?? 0;
  if (hasBit(control, V_NMI_ENABLE_BIT)) return hasBit(control, V_NMI_BLOCKING_BIT);
  if (kvm_amd?.nmi_masked !== undefined) return kvm_amd.nmi_masked !== 0;
  return hflags === undefined ? undefined : hasBit(hflags, 3);
}

/** HF_SMM_MASK: renumbered in 6.3, together with which the emulator asks KVM for it by a function. */
function smmOf({ hflags = 0 }: VcpuRead["arch"], { has }: KernelHost): boolean {
  return hasBit(hflags, has("x86_emulate_ops", "is_smm") ? 1 : 6);
}

/** `KVM_MP_STATE_HALTED`, and AMD's `KVM_MP_STATE_AP_RESET_HOLD`. */
const SLEEPING: readonly number[] = [3, 9];
/** Vectors of exceptions that an instruction makes: KVM does not report them. */
const SOFT: readonly number[] = [3, 4];

/**
 * What KVM_GET_REGS, KVM_GET_SREGS, KVM_GET_VCPU_EVENTS and KVM_GET_MP_STATE give, as far as {@link VcpuState} has it
 * (arch/x86/kvm/x86.c, kvm_vcpu_ioctl_x86_get_vcpu_events; kvm_arch_vcpu_ioctl_get_mpstate).
 *
 * @returns with the paths of what the memory does not tell. Nothing where a field is missing that all kernels have.
 */
export function vcpuImage(vcpu: VcpuRead, host: KernelHost) {
  const { arch } = vcpu;
  const { mp_state, apic_base, efer } = arch;
  if (mp_state === undefined || apic_base === undefined || efer === undefined) return undefined;
  const { rip, rflags, cr0, shadow, nmiMasked } = registersOf(vcpu, host);
  const unhalted = SLEEPING.includes(mp_state) && arch.pv_unhalted === 1;
  const state: Omit<VcpuState, "vcpu"> = {
    mp_state: MP_STATES[unhalted ? 0 : mp_state] ?? `unknown-${mp_state}`,
    rip: toU64(rip ?? 0n),
    rflags: toU64(rflags ?? 0n),
    cr0: toU64(cr0 ?? 0n),
    cr8: toU64(cr8Of(arch)),
    efer: toU64(efer),
    apic_base: toU64(apic_base),
    exception: exceptionOf(vcpu),
    interrupt: {
      injected: arch.interrupt_injected === 1 && arch.interrupt_soft === 0,
      nr: arch.interrupt_nr ?? 0,
      soft: false,
      shadow: shadow ?? 0,
    },
    nmi: {
      injected: arch.nmi_injected === 1,
      pending: nmisOf(arch, nmiMasked === true),
      masked: nmiMasked === true,
    },
    smi: { smm: smmOf(arch, host), pending: arch.smi_pending === 1 },
  };
  const unread = [
    rip === undefined && "rip",
    rflags === undefined && "rflags",
    cr0 === undefined && "cr0",
    shadow === undefined && "interrupt.shadow",
    nmiMasked === undefined && "nmi.masked",
  ];
  return {
    bytes: encodeVcpu({ vcpu: 0, ...state } as VcpuState),
    unread: unread.filter((path) => path !== false),
  };
}

/** Whether hardware takes interrupts to the vCPU: in `struct kvm_vcpu_arch` before 6.1. */
export function isApicvActive({ arch }: Pick<VcpuRead, "arch">): boolean {
  return (arch.apic?.apicv_active ?? arch.apicv_active) === 1;
}

/** With a local APIC it is the upper half of its TPR (Intel SDM vol. 3, 12.8.6.1). */
function cr8Of({ apic, cr8 = 0n }: VcpuRead["arch"]): bigint {
  return apic?.regs === undefined ? cr8 : BigInt((apic.regs[0x80]! & 0xf0) >> 4);
}

function exceptionOf({ arch, payload }: VcpuRead): VcpuState["exception"] {
  const plain = arch.exception_pending === 1 || arch.exception_injected === 1;
  const exiting = arch.vmexit_pending === 1 && !plain;
  const nr = (exiting ? arch.vmexit_nr : arch.exception_nr) ?? 0;
  if (SOFT.includes(nr)) return { injected: false, pending: false, nr };
  const pending = exiting || arch.exception_pending === 1;
  const injected = !exiting && arch.exception_injected === 1;
  return { injected: injected || (pending && !payload), pending, nr };
}

/** Those that wait to be counted too; KVM holds two, or one while another is in the way (process_nmi, x86.c). */
function nmisOf(
  { nmi_queued = 0, nmi_pending = 0, nmi_injected }: VcpuRead["arch"],
  masked: boolean,
): number {
  return Math.min(nmi_queued + nmi_pending, masked || nmi_injected === 1 ? 1 : 2);
}
