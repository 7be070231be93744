import type { ChipId, ChipImage, InjectionStatus } from "../abi/chip.ts";
import { KvmIrqError } from "../abi/error.ts";
import type { MsiMessage } from "../abi/x86/msi.ts";
import { type Routing, routesOf } from "../abi/x86/routing.ts";
import { vcpuAt } from "../machine/checks.ts";
import type { Machine } from "../machine/machine.ts";
import { readChip, writeChip } from "./chips.ts";
import { Kvm } from "./kvm.ts";
import type { Vcpu } from "./vcpu.ts";
import type { Vm } from "./vm.ts";

/** A scratch VM of the real KVM, owned by this process: an irqchip and vCPUs that never run. */
export class KvmMachine implements Machine {
  readonly backend = "kvm";
  readonly apiVersion: number;
  readonly vcpus: number;
  readonly #kvm: Kvm;
  readonly #vm: Vm;
  readonly #vcpus: Vcpu[] = [];
  #routing: Routing = "default";

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
    return readChip(this.#vm, (index) => vcpuAt(this.#vcpus, index), id);
  }

  writeChip(image: ChipImage): void {
    writeChip(this.#vm, (index) => vcpuAt(this.#vcpus, index), image);
  }

  get routing(): Routing {
    return this.#routing;
  }

  setRouting(routing: Routing): void {
    this.#vm.setRouting(routesOf(routing));
    this.#routing = routing;
  }

  setIrqLine(gsi: number, level: 0 | 1): InjectionStatus {
    return this.#vm.setIrqLine(gsi, level);
  }

  signalMsi(message: MsiMessage): InjectionStatus {
    return this.#vm.signalMsi(message);
  }

  close(): void {
    for (const vcpu of this.#vcpus) vcpu.close();
    this.#vm?.close();
    this.#kvm.close();
  }
}
