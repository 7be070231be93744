import { hasBit } from "../../abi/bits.ts";
import { type NodeOf, number, pointer, structure, wide } from "../../registers/memory.ts";
import { parseChipId } from "../../vm/chip.ts";
import type { KERNEL_IRQCHIPS } from "../../vm/snapshot.ts";
import type { KernelHost, KernelMemory, VmMemory } from "../arch.ts";
import { IOAPIC_MEMORY, ioapicImage } from "./ioapic/memory.ts";
import { lapicImage } from "./lapic/memory.ts";
import { PIC_MEMORY } from "./pic/memory.ts";
import { APIC_BASE_ENABLE_BIT, APIC_BASE_X2APIC_BIT } from "./vcpu/layout.ts";
import { VCPU_MEMORY, type VcpuRead, VENDOR_MEMORY, type Vendor, vcpuImage } from "./vcpu/memory.ts";

/** What `struct kvm_arch` has of a VM (arch/x86/include/asm/kvm_host.h). */
const VM_MEMORY = structure("kvm_arch", {
  irqchip_mode: number("irqchip_mode"),
  pic: pointer(PIC_MEMORY, "vpic"),
  ioapic: pointer(IOAPIC_MEMORY, "vioapic"),
  x2apic_format: number("x2apic_format"),
  exception_payload: number("exception_payload_enabled"),
  /** 1 before 6.11, which has no such field. */
  apic_bus_cycle_ns: wide("apic_bus_cycle_ns"),
});
type VmRead = NodeOf<typeof VM_MEMORY>;

/** `enum kvm_irqchip_mode`, by number. */
const MODES = ["none", "full", "split"] as const satisfies readonly (typeof KERNEL_IRQCHIPS)[number][];

/**
 * Whether the register page has the command register as one of 64 bits in x2APIC mode: since 5.18, as
 * `enum kvm_apicv_inhibit`, and not on AMD once its hardware has it in two (`x2apic_icr_is_split`).
 */
function hasWideIcr({ enumOf, has, vendor }: KernelHost): boolean {
  if (enumOf("kvm_apicv_inhibit") === undefined) return false;
  return vendor !== "kvm_amd" || !has("kvm_x86_ops", "x2apic_icr_is_split");
}

function lapicOf(vm: VmRead, id: number, { arch }: VcpuRead, host: KernelHost): Uint8Array | undefined {
  const { apic, apic_base = 0n } = arch;
  const bits = Number(apic_base & 0xfffn);
  return (
    apic &&
    lapicImage(apic, {
      x2apic: hasBit(bits, APIC_BASE_X2APIC_BIT) && hasBit(bits, APIC_BASE_ENABLE_BIT),
      wideIds: vm.x2apic_format === 1,
      wideIcr: hasWideIcr(host),
      vcpuId: id,
      cycleNs: vm.apic_bus_cycle_ns ?? 1n,
      nowNs: host.nowNs,
    })
  );
}

/** x86's controllers in the memory of the kernel that has them. */
export const memory: KernelMemory = {
  vm: VM_MEMORY,
  vcpu: VCPU_MEMORY,
  vendors: VENDOR_MEMORY,
  irqchip: ({ arch }) => MODES[(arch as VmRead).irqchip_mode ?? -1],
  image(id, { arch, vcpus }: VmMemory, host) {
    const vm = arch as VmRead;
    const { kind, vcpu: number_ } = parseChipId(id);
    if (kind === "ioapic") return bytesOf(vm.ioapic && ioapicImage(vm.ioapic));
    if (kind === "pic1" || kind === "pic2") return bytesOf(vm.pic?.[kind]);
    const one = vcpus.get(number_);
    if (one === undefined) return undefined;
    const vcpu: VcpuRead = {
      arch: one.arch as VcpuRead["arch"],
      mode: one.mode,
      payload: vm.exception_payload === 1,
      ...(host.vendor === undefined ? {} : { [host.vendor as Vendor]: one.vendor }),
    };
    return kind === "lapic" ? bytesOf(lapicOf(vm, number_, vcpu, host)) : vcpuImage(vcpu, host);
  },
};

function bytesOf(bytes: Uint8Array | undefined): { bytes: Uint8Array } | undefined {
  return bytes && { bytes };
}
