import {
  type ChipId,
  type ChipImage,
  type InjectionStatus,
  IRQCHIP_NUMBER,
  parseChipId,
} from "../abi/chip.ts";
import { KvmIrqError } from "../abi/error.ts";
import { SIZEOF } from "../abi/ioctl.ts";
import { vcpuAt, vcpuIsReadOnly } from "../machine/checks.ts";
import type { Machine } from "../machine/machine.ts";
import { Kvm } from "./kvm.ts";
import type { Vcpu } from "./vcpu.ts";
import type { Vm } from "./vm.ts";

/** Bytes of `struct kvm_irqchip` before the chip's own. */
const IRQCHIP_HEADER = 8;
const STATE_SIZE = {
  pic1: SIZEOF.kvm_pic_state,
  pic2: SIZEOF.kvm_pic_state,
  ioapic: SIZEOF.kvm_ioapic_state,
} as const;

/** A scratch VM of the real KVM, owned by this process: an irqchip and vCPUs that never run. */
export class KvmMachine implements Machine {
  readonly backend = "kvm";
  readonly apiVersion: number;
  readonly vcpus: number;
  readonly #kvm: Kvm;
  readonly #vm: Vm;
  readonly #vcpus: Vcpu[] = [];

  /**
   * @param vcpus how many vCPUs to make, numbered from 0; none is allowed.
   * @throws KvmIrqError when KVM can't be used here or refuses.
   */
  constructor(vcpus: number) {
    this.vcpus = vcpus;
    this.#kvm = Kvm.open();
    try {
      this.apiVersion = this.#kvm.apiVersion();
      const most = this.#kvm.checkExtension("KVM_CAP_MAX_VCPUS");
      if (vcpus > most) {
        throw new KvmIrqError("usage", `this kernel gives a VM at most ${most} vCPUs, not ${vcpus}`);
      }
      this.#vm = this.#kvm.createVm();
      this.#vm.createIrqchip();
      for (let id = 0; id < vcpus; id++) this.#vcpus.push(this.#vm.createVcpu(id));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  readChip(id: ChipId): Uint8Array {
    const { kind, vcpu } = parseChipId(id);
    switch (kind) {
      case "lapic":
        return vcpuAt(this.#vcpus, vcpu).getLapic();
      case "vcpu":
        return vcpuAt(this.#vcpus, vcpu).getImage();
      default: {
        const irqchip = this.#vm.getIrqchip(IRQCHIP_NUMBER[kind]!);
        return irqchip.slice(IRQCHIP_HEADER, IRQCHIP_HEADER + STATE_SIZE[kind]);
      }
    }
  }

  writeChip({ id, bytes }: ChipImage): void {
    const { kind, vcpu } = parseChipId(id);
    switch (kind) {
      case "lapic":
        vcpuAt(this.#vcpus, vcpu).setLapic(bytes);
        break;
      case "vcpu":
        throw vcpuIsReadOnly();
      default:
        this.#vm.setIrqchip(IRQCHIP_NUMBER[kind]!, bytes);
    }
  }

  setIrqLine(gsi: number, level: 0 | 1): InjectionStatus {
    return this.#vm.setIrqLine(gsi, level);
  }

  close(): void {
    for (const vcpu of this.#vcpus) vcpu.close();
    this.#vm?.close();
    this.#kvm.close();
  }
}
