import { HOST_ARCH } from "../arch/arches.ts";
import { checkStateSize, vcpuIsReadOnly } from "../vm/checks.ts";
import { type ChipId, type ChipImage, IRQCHIP_HEADER, parseChipId } from "../vm/chip.ts";
import type { Vcpu } from "./vcpu.ts";
import type { Vm } from "./vm.ts";

/**
 * Reads a chip or a vCPU's state with the ioctl that it takes.
 *
 * @param vcpuOf gives a vCPU by number, or throws.
 * @throws KvmError when the kernel refuses.
 */
export function readChip(vm: Vm, vcpuOf: (index: number) => Vcpu, id: ChipId): Uint8Array {
  const { access, layout } = controllerOf(id);
  if ("vcpu" in access) return vcpuOf(parseChipId(id).vcpu).read(access.vcpu);
  return vm.getIrqchip(access.irqchip).slice(IRQCHIP_HEADER, IRQCHIP_HEADER + layout.size);
}

/**
 * Writes a chip.
 *
 * @throws KvmIrqError `unsupported` for a vCPU's state; RangeError for another size than the chip's; KvmError when
 *   the kernel refuses.
 */
export function writeChip(vm: Vm, vcpuOf: (index: number) => Vcpu, { id, bytes }: ChipImage): void {
  const { access, kind, layout } = controllerOf(id);
  const [part] = "vcpu" in access ? access.vcpu : [];
  if (part !== undefined && part.set === undefined) throw vcpuIsReadOnly();
  checkStateSize(kind, layout.size, bytes);
  if ("irqchip" in access) vm.setIrqchip(access.irqchip, bytes);
  else vcpuOf(parseChipId(id).vcpu).write(part!.set!, bytes);
}

function controllerOf(id: ChipId) {
  const controller = HOST_ARCH.controller(id);
  if (controller === undefined) throw new RangeError(`there is no chip ${id}`);
  return controller;
}
