import { hasBit } from "../../abi/bits.ts";
import { parseChipId } from "../../vm/chip.ts";
import type { KERNEL_IRQCHIPS } from "../../vm/snapshot.ts";
import type { KernelHost, KernelMemory, VmMemory } from "../arch.ts";
import { ioapicImage } from "./ioapic/memory.ts";
import { lapicImage, postedInto } from "./lapic/memory.ts";
import { factsOf } from "./memory-facts.ts";
import { INPUTS } from "./routing.ts";
import { APIC_BASE_ENABLE_BIT, APIC_BASE_X2APIC_BIT } from "./vcpu/layout.ts";
import {
  isApicvActive,
  VCPU_MEMORY,
  type VcpuRead,
  VENDOR_MEMORY,
  type Vendor,
  vcpuImage,
} from "./vcpu/memory.ts";
import { VM_MEMORY, type VmRead } from "./vm-memory.ts";

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

function lapicOf(vm: VmRead, id: number, vcpu: VcpuRead, host: KernelHost): Uint8Array | undefined {
  const { apic, apic_base = 0n } = vcpu.arch;
  const bits = Number(apic_base & 0xfffn);
  const image =
    apic &&
    lapicImage(apic, {
      x2apic: hasBit(bits, APIC_BASE_X2APIC_BIT) && hasBit(bits, APIC_BASE_ENABLE_BIT),
      wideIds: vm.x2apic_format === 1,
      wideIcr: hasWideIcr(host),
      vcpuId: id,
      cycleNs: vm.apic_bus_cycle_ns ?? 1n,
      nowNs: host.nowNs,
    });
  const { pir_vt, pir = pir_vt } = vcpu.kvm_intel ?? {};
  const posts = pir !== undefined && isApicvActive(vcpu);
  return image && posts ? postedInto(image, pir) : image;
}

/** What was read of a vCPU. */
function vcpuOf(vm: VmRead, one: NonNullable<ReturnType<VmMemory["vcpus"]["get"]>>, { vendor }: KernelHost) {
  return {
    arch: one.arch as VcpuRead["arch"],
    mode: one.mode,
    payload: vm.exception_payload === 1,
    ...(vendor === undefined ? {} : { [vendor as Vendor]: one.vendor }),
  } as VcpuRead;
}

/** x86's controllers in the memory of the kernel that has them. */
export const memory: KernelMemory = {
  vm: VM_MEMORY,
  vcpu: VCPU_MEMORY,
  vendors: VENDOR_MEMORY,
  irqchip: ({ arch }) => MODES[(arch as VmRead).irqchip_mode ?? -1],
  // The second PIC's pins go on where the first one's end (kvm_set_routing_entry, arch/x86/kvm/irq.c).
  input(irqchip, pin) {
    const [chip, { pins }] = Object.entries(INPUTS).find(([, one]) => one.irqchip === irqchip) ?? [
      "",
      { pins: 0 },
    ];
    return chip === "" ? undefined : { chip, pin: chip === "pic2" ? pin - pins : pin };
  },
  facts(names, { arch, vcpus }, host) {
    const vm = arch as VmRead;
    const all = [...vcpus].map(([vcpu, one]) => ({ vcpu, ...vcpuOf(vm, one, host) }));
    return factsOf(names, vm, all, host);
  },
  image(id, { arch, vcpus }: VmMemory, host) {
    const vm = arch as VmRead;
    const { kind, vcpu: number_ } = parseChipId(id);
    if (kind === "ioapic") return bytesOf(vm.ioapic && ioapicImage(vm.ioapic));
    if (kind === "pic1" || kind === "pic2") return bytesOf(vm.pic?.[kind]);
    const one = vcpus.get(number_);
    if (one === undefined) return undefined;
    const vcpu = vcpuOf(vm, one, host);
    return kind === "lapic" ? bytesOf(lapicOf(vm, number_, vcpu, host)) : vcpuImage(vcpu, host);
  },
};

function bytesOf(bytes: Uint8Array | undefined): { bytes: Uint8Array } | undefined {
  return bytes && { bytes };
}
