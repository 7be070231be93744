import { KvmIrqError } from "../abi/error.ts";
import type { Gsi } from "../abi/numbers.ts";
import { HOST_ARCH } from "../arch/arches.ts";
import { checkVcpus, vcpuAt } from "../vm/checks.ts";
import type { ChipId, ChipImage, InjectionStatus } from "../vm/chip.ts";
import type { IrqfdFact } from "../vm/facts.ts";
import type { GuestProgram, GuestState } from "../vm/guest.ts";
import type { IrqfdAction, IrqfdState } from "../vm/irqfd.ts";
import type { Irqchip, Machine } from "../vm/machine.ts";
import { checkRouted, routingOn } from "../vm/routed.ts";
import { type MsiMessage, type Routing, routesOf } from "../vm/routing.ts";
import { type Descriptors, readChip, writeChip } from "./chips.ts";
import { Guest } from "./guest.ts";
import { Irqfds } from "./irqfds.ts";
import { Kvm } from "./kvm.ts";
import type { Vcpu } from "./vcpu.ts";
import type { Vm } from "./vm.ts";

/** It takes a millisecond. */
const GUEST_START_MS = 5_000;

/** A scratch VM of the real KVM, owned by this process: an irqchip and vCPUs, which never run without {@link runGuest}. */
export class KvmMachine implements Machine {
  readonly backend = "kvm";
  readonly apiVersion: number;
  readonly vcpus: number;
  readonly irqchip: Irqchip;
  readonly #kvm: Kvm;
  readonly #vm: Vm;
  readonly #vcpus: Vcpu[] = [];
  #routing: Routing;
  readonly #irqfds: Irqfds;
  #guest: Guest | undefined;

  /**
   * @param vcpus how many vCPUs to make, numbered from 0; none is allowed.
   * @param irqchip which controllers are in the kernel.
   * @throws KvmIrqError when KVM can't be used here or refuses.
   */
  constructor(vcpus: number, irqchip: Irqchip = "full") {
    this.vcpus = vcpus;
    this.irqchip = irqchip;
    this.#routing = irqchip === "split" ? [] : "default";
    this.#kvm = Kvm.open();
    try {
      this.apiVersion = this.#kvm.apiVersion();
      const most = this.#kvm.checkExtension("KVM_CAP_MAX_VCPUS");
      checkVcpus(vcpus, most, "this kernel");
      this.#vm = this.#kvm.createVm();
      this.#irqfds = new Irqfds(this.#vm);
      if (irqchip === "split") this.#vm.enableSplitIrqchip(HOST_ARCH.lines.count);
      else this.#vm.createIrqchip();
      for (let id = 0; id < vcpus; id++) this.#vcpus.push(this.#vm.createVcpu(id));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  get #descriptors(): Descriptors {
    return { vm: this.#vm, vcpuOf: (index) => this.#vcpuAtRest(index) };
  }

  readChip(id: ChipId): Uint8Array {
    return readChip(this.#descriptors, id);
  }

  writeChip(image: ChipImage): void {
    writeChip(this.#descriptors, image);
  }

  get routing(): Routing {
    return this.#routing;
  }

  setRouting(routing: Routing): void {
    const wanted = routingOn(this.irqchip, routing);
    this.#vm.setRouting(routesOf(HOST_ARCH.routing, wanted));
    this.#routing = wanted;
  }

  setIrqLine(gsi: Gsi, level: 0 | 1): InjectionStatus {
    return this.#vm.setIrqLine(gsi, level);
  }

  signalMsi(message: MsiMessage): InjectionStatus {
    return this.#vm.signalMsi(message);
  }

  irqfd(action: IrqfdAction): IrqfdState[] {
    if (action.do === "bind") checkRouted(this, [action.gsi]);
    return this.#irqfds.run(action);
  }

  irqfdFacts(): IrqfdFact[] {
    return this.#irqfds.facts(routesOf(HOST_ARCH.routing, this.#routing));
  }

  get guest(): GuestState | undefined {
    return this.#guest?.state;
  }

  /**
   * Starts a guest on vCPU 0, and waits until it has set up its chips.
   *
   * @throws KvmIrqError `usage` without a vCPU; `kernel-refused` when the guest does not run.
   */
  async runGuest(program: GuestProgram): Promise<void> {
    const [vcpu] = this.#vcpus;
    if (vcpu === undefined) throw new KvmIrqError("usage", "a guest needs a vCPU");
    const code = await HOST_ARCH.guest!();
    this.#vm.setTssAddr(code.tss);
    this.#guest = new Guest(this.#kvm, this.#vm, vcpu, program, code);
    await this.#guest.start(GUEST_START_MS);
  }

  /** A vCPU whose ioctls do not wait. */
  #vcpuAtRest(index: number): Vcpu {
    const vcpu = vcpuAt(this.#vcpus, index);
    if (index === 0) this.#guest?.pause();
    return vcpu;
  }

  close(): void {
    this.#guest?.close();
    this.#irqfds?.close();
    // The guest closes its own once it has stopped.
    for (const vcpu of this.#guest === undefined ? this.#vcpus : this.#vcpus.slice(1)) vcpu.close();
    this.#vm?.close();
    this.#kvm.close();
  }
}
