import { checkStateSize, vcpuIsReadOnly } from "../vm/checks.ts";
import {
  type ChipId,
  type ChipImage,
  IRQCHIP_HEADER,
  IRQCHIP_NUMBER,
  parseChipId,
  STATE_SIZE,
} from "../vm/chip.ts";
import type { Vcpu } from "./vcpu.ts";
import type { Vm } from "./vm.ts";

/**
 * Reads a chip or a vCPU's state with the ioctl that it takes.
 *
 * @param vcpuOf gives a vCPU by number, or throws.
 * @throws KvmError when the kernel refuses.
 */
export function readChip(vm: Vm, vcpuOf: (index: number) => Vcpu, id: ChipId): Uint8Array {
  const { kind, vcpu } = parseChipId(id);
  switch (kind) {
    case "lapic":
      return vcpuOf(vcpu).getLapic();
    case "vcpu":
      return vcpuOf(vcpu).getImage();
    default: {
      const irqchip = vm.getIrqchip(IRQCHIP_NUMBER[kind]!);
      return irqchip.slice(IRQCHIP_HEADER, IRQCHIP_HEADER + STATE_SIZE[kind]);
    }
  }
}

/**
 * Writes a chip.
 *
 * @throws KvmIrqError `unsupported` for a vCPU's state; RangeError for another size than the chip's; KvmError when
 *   the kernel refuses.
 */
export function writeChip(vm: Vm, vcpuOf: (index: number) => Vcpu, { id, bytes }: ChipImage): void {
  const { kind, vcpu } = parseChipId(id);
  switch (kind) {
    case "lapic":
      vcpuOf(vcpu).setLapic(bytes);
      break;
    case "vcpu":
      throw vcpuIsReadOnly();
    default:
      checkStateSize(kind, bytes);
      vm.setIrqchip(IRQCHIP_NUMBER[kind]!, bytes);
  }
}
