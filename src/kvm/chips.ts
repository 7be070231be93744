import type { ArchCodec } from "../arch/arch.ts";
import { HOST_ARCH } from "../arch/arches.ts";
import { registersOf } from "../registers/bank.ts";
import { sizesOf } from "../registers/struct.ts";
import { checkStateSize, vcpuIsReadOnly } from "../vm/checks.ts";
import { type ChipId, type ChipImage, IRQCHIP_HEADER, parseChipId } from "../vm/chip.ts";
import type { Device } from "./device.ts";
import type { Vcpu } from "./vcpu.ts";
import type { Vm } from "./vm.ts";

/** The descriptors of a VM that its chips are read and written through. */
export interface Descriptors {
  /** The VM's architecture; this host's when not given. */
  arch?: Pick<ArchCodec, "controller">;
  vm: Vm;
  /** A vCPU by number, or throws. */
  vcpuOf(index: number): Vcpu;
  /** A device by its name, or throws; where the architecture has some. */
  deviceOf?(name: string): Device;
}

/**
 * Reads a chip or a vCPU's state in the way that it takes.
 *
 * @throws KvmError when the kernel refuses.
 */
export function readChip(of: Descriptors, id: ChipId): Uint8Array {
  const { access, layout } = controllerOf(of, id);
  const { vcpu } = parseChipId(id);
  if ("vcpu" in access) return of.vcpuOf(vcpu).read(access.vcpu);
  if ("device" in access) {
    const { device, group, base = () => 0n } = access;
    return of.deviceOf!(device).read(group, base(vcpu), registersOf(layout), layout.size);
  }
  return of.vm.getIrqchip(access.irqchip).slice(IRQCHIP_HEADER, IRQCHIP_HEADER + layout.size);
}

/**
 * Writes a chip.
 *
 * @throws KvmIrqError `unsupported` for a vCPU's state; RangeError for another size than the chip's; KvmError when
 *   the kernel refuses.
 */
export function writeChip(of: Descriptors, { id, bytes }: ChipImage): void {
  const { access, kind, layout } = controllerOf(of, id);
  const { vcpu } = parseChipId(id);
  const [part] = "vcpu" in access ? access.vcpu : [];
  if (part !== undefined && part.set === undefined) throw vcpuIsReadOnly();
  checkStateSize(kind, sizesOf(layout), bytes);
  if ("irqchip" in access) of.vm.setIrqchip(access.irqchip, bytes);
  else if ("device" in access) {
    const { device, group, base = () => 0n } = access;
    of.deviceOf!(device).write(group, base(vcpu), registersOf(layout), bytes);
  } else of.vcpuOf(vcpu).write(part!.set!, bytes);
}

function controllerOf({ arch = HOST_ARCH }: Descriptors, id: ChipId) {
  const controller = arch.controller(id);
  if (controller === undefined) throw new RangeError(`there is no chip ${id}`);
  return controller;
}
