import { CAP, type CapName, SIZEOF } from "../abi/ioctl.ts";
import type { Gsi } from "../abi/numbers.ts";
import { HOST_ARCH } from "../arch/arches.ts";
import { NativeBuffer } from "../os/libc.ts";
import { checkGsi } from "../vm/checks.ts";
import { type InjectionStatus, IRQCHIP_HEADER } from "../vm/chip.ts";
import { checkRoutes, encodeRouting, type MsiMessage, type Route } from "../vm/routing.ts";
import { type IoctlCaller, KvmFd } from "./fd.ts";
import { KvmError } from "./kvm-error.ts";
import { Vcpu } from "./vcpu.ts";

const EPERM = 1;
/** `KVM_IRQFD_FLAG_*` of `<linux/kvm.h>`. */
const IRQFD_FLAGS = { DEASSIGN: 1, RESAMPLE: 2 } as const;

/** What a VM asks of the device that it was made from. */
export interface Capabilities {
  checkExtension(cap: CapName): number;
  requireExtension(cap: CapName): void;
}

/** A VM: its interrupt controllers and their lines. */
export class Vm extends KvmFd {
  readonly #kvm: Capabilities | undefined;
  readonly #irqchip = new NativeBuffer(SIZEOF.kvm_irqchip);
  readonly #irqLevel = new NativeBuffer(SIZEOF.kvm_irq_level);
  readonly #msi = new NativeBuffer(SIZEOF.kvm_msi);
  #hasStatus: boolean | undefined;

  /**
   * @param kvm the device that the VM was made from; none for a VM of another process.
   * @param call where `fd` is open, when it is not this process.
   */
  constructor(fd: number, kvm: Capabilities | undefined, call?: IoctlCaller) {
    super(fd, call);
    this.#kvm = kvm;
  }

  /** KVM_CHECK_EXTENSION on the VM, where capabilities may differ from the device's. */
  checkExtension(cap: CapName): number {
    const kvm = this.#kvm;
    const perVm = kvm === undefined || kvm.checkExtension("KVM_CAP_CHECK_EXTENSION_VM") > 0;
    return perVm ? this.ioctl("KVM_CHECK_EXTENSION", CAP[cap]) : kvm.checkExtension(cap);
  }

  /**
   * KVM_CREATE_IRQCHIP: two PICs, an IOAPIC, and a local APIC for each vCPU made afterwards.
   *
   * @throws KvmIrqError `kvm-capability` without KVM_CAP_IRQCHIP. KvmError EEXIST for a second one,
   *   EINVAL when there is a vCPU already.
   */
  createIrqchip(): void {
    this.#kvm?.requireExtension("KVM_CAP_IRQCHIP");
    this.ioctl("KVM_CREATE_IRQCHIP");
  }

  /**
   * KVM_ENABLE_CAP with KVM_CAP_SPLIT_IRQCHIP: a local APIC for each vCPU made afterwards, and no PICs or
   * IOAPIC. The routing is then empty, and takes MSIs alone.
   *
   * @param pins how many IOAPIC pins userspace means to have, 0 to 4096; KVM tells it of EOIs on those.
   * @throws KvmIrqError `kvm-capability`. KvmError EEXIST when there is an irqchip, EINVAL when there is a
   *   vCPU already.
   */
  enableSplitIrqchip(pins: number): void {
    this.#kvm?.requireExtension("KVM_CAP_SPLIT_IRQCHIP");
    const cap = new NativeBuffer(SIZEOF.kvm_enable_cap);
    cap.view.setUint32(0, CAP.KVM_CAP_SPLIT_IRQCHIP, true);
    cap.view.setBigUint64(8, BigInt(pins), true);
    this.ioctl("KVM_ENABLE_CAP", cap);
  }

  /**
   * KVM_CREATE_VCPU.
   *
   * @param id 0 up to KVM_CAP_MAX_VCPUS; it becomes the local APIC's id. vCPU 0 is the bootstrap processor.
   * @throws KvmError EEXIST, EINVAL.
   */
  createVcpu(id: number): Vcpu {
    return new Vcpu(this.ioctl("KVM_CREATE_VCPU", id), id);
  }

  /**
   * KVM_SET_USER_MEMORY_REGION: give the guest memory.
   *
   * @param region where the guest has it, how many bytes, and where this process does: whole pages.
   * @throws KvmError EEXIST when it overlaps another slot's, EINVAL.
   */
  setUserMemoryRegion(region: { slot: number; guest: number; size: number; host: number }): void {
    const buffer = new NativeBuffer(SIZEOF.kvm_userspace_memory_region);
    buffer.view.setUint32(0, region.slot, true);
    buffer.view.setBigUint64(8, BigInt(region.guest), true);
    buffer.view.setBigUint64(16, BigInt(region.size), true);
    buffer.view.setBigUint64(24, BigInt(region.host), true);
    this.ioctl("KVM_SET_USER_MEMORY_REGION", buffer);
  }

  /**
   * KVM_SET_TSS_ADDR: three pages below 4 GiB that kvm-intel may use. The guest must not.
   *
   * @throws KvmError EINVAL.
   */
  setTssAddr(address: number): void {
    this.ioctl("KVM_SET_TSS_ADDR", address);
  }

  /**
   * KVM_GET_IRQCHIP.
   *
   * @param chip KVM_IRQCHIP_PIC_MASTER (0), KVM_IRQCHIP_PIC_SLAVE (1) or KVM_IRQCHIP_IOAPIC (2).
   * @returns the whole `struct kvm_irqchip`: 520 bytes, the chip's state from byte 8 on.
   * @throws KvmError ENXIO when the VM has no in-kernel irqchip, EINVAL for another chip.
   */
  getIrqchip(chip: number): Uint8Array {
    this.#irqchip.bytes.fill(0);
    this.#irqchip.view.setUint32(0, chip, true);
    this.ioctl("KVM_GET_IRQCHIP", this.#irqchip);
    return new Uint8Array(this.#irqchip.bytes);
  }

  /**
   * KVM_SET_IRQCHIP. Setting the IOAPIC re-injects every pin whose bit in `irr` is set.
   *
   * @param chip as for {@link getIrqchip}.
   * @param state the chip's state alone, up to 512 bytes; what is missing is zero.
   * @throws KvmError ENXIO, EINVAL.
   */
  setIrqchip(chip: number, state: Uint8Array): void {
    if (state.length > SIZEOF.kvm_irqchip - IRQCHIP_HEADER) {
      throw new RangeError(`a chip's state has at most ${SIZEOF.kvm_irqchip - IRQCHIP_HEADER} bytes`);
    }
    this.#irqchip.bytes.fill(0);
    this.#irqchip.view.setUint32(0, chip, true);
    this.#irqchip.bytes.set(state, IRQCHIP_HEADER);
    this.ioctl("KVM_SET_IRQCHIP", this.#irqchip);
  }

  /**
   * KVM_IRQ_LINE_STATUS where the kernel has it, else KVM_IRQ_LINE: set the level of a GSI.
   *
   * @param gsi 0 to 23 under the default routing; others are accepted and go nowhere.
   * @returns CPUs reached, 0 when coalesced, negative when ignored; `null` with KVM_IRQ_LINE, which says
   *   nothing. Only the status of a rise means anything.
   * @throws KvmError ENXIO when the VM has no in-kernel irqchip.
   */
  setIrqLine(gsi: Gsi, level: 0 | 1): InjectionStatus {
    this.#hasStatus ??= this.checkExtension("KVM_CAP_IRQ_INJECT_STATUS") > 0;
    return this.#hasStatus ? this.irqLineStatus(gsi, level) : this.irqLine(gsi, level);
  }

  /** KVM_IRQ_LINE_STATUS; see {@link setIrqLine}. @throws KvmError ENOTTY on kernels that lack it. */
  irqLineStatus(gsi: Gsi, level: 0 | 1): number {
    this.#setLevel(gsi, level);
    this.ioctl("KVM_IRQ_LINE_STATUS", this.#irqLevel);
    return this.#irqLevel.view.getInt32(0, true);
  }

  /** KVM_IRQ_LINE; see {@link setIrqLine}. */
  irqLine(gsi: Gsi, level: 0 | 1): null {
    this.#setLevel(gsi, level);
    this.ioctl("KVM_IRQ_LINE", this.#irqLevel);
    return null;
  }

  /**
   * KVM_SET_GSI_ROUTING: replace the whole routing. There is no ioctl that reads it back.
   *
   * @throws KvmIrqError `bad-route` for a table that the kernel would refuse.
   */
  setRouting(routes: readonly Route[]): void {
    checkRoutes(HOST_ARCH.routing, routes);
    const bytes = encodeRouting(HOST_ARCH.routing, routes);
    const table = new NativeBuffer(bytes.length);
    table.bytes.set(bytes);
    this.ioctl("KVM_SET_GSI_ROUTING", table);
  }

  /**
   * KVM_IRQFD: let writes to an eventfd raise a GSI, or take that back.
   *
   * @param resampleFd an eventfd that KVM writes to when the interrupt gets its EOI, the line being lowered;
   *   without it each write is a pulse.
   * @throws KvmError EBUSY when the eventfd is bound already, EINVAL for a resample without an IOAPIC.
   */
  irqfd(
    fd: number,
    gsi: Gsi,
    { resampleFd, deassign = false }: { resampleFd?: number | undefined; deassign?: boolean },
  ): void {
    const { DEASSIGN, RESAMPLE } = IRQFD_FLAGS;
    const irqfd = new NativeBuffer(SIZEOF.kvm_irqfd);
    irqfd.view.setUint32(0, fd, true);
    irqfd.view.setUint32(4, gsi, true);
    irqfd.view.setUint32(8, (deassign ? DEASSIGN : 0) | (resampleFd === undefined ? 0 : RESAMPLE), true);
    irqfd.view.setUint32(12, resampleFd ?? 0, true);
    this.ioctl("KVM_IRQFD", irqfd);
  }

  /**
   * KVM_SIGNAL_MSI: send a message to local APICs.
   *
   * @returns CPUs that took it, 0 when none of those addressed did, -1 when none was found.
   * @throws KvmIrqError `bad-msi` for an address outside 0xfeeXXXXX, which the kernel would take all the
   *   same. KvmError EINVAL when the VM has no in-kernel local APICs.
   */
  signalMsi(message: MsiMessage): InjectionStatus {
    HOST_ARCH.msi.check(message);
    this.#msi.bytes.fill(0);
    this.#msi.view.setUint32(0, message.address, true);
    this.#msi.view.setUint32(8, message.data, true);
    try {
      return this.ioctl("KVM_SIGNAL_MSI", this.#msi);
    } catch (error) {
      // The ioctl's own answer of -1, "ignored", is what libc takes for an error with errno 1.
      if (error instanceof KvmError && error.errno === EPERM) return -1;
      throw error;
    }
  }

  #setLevel(gsi: Gsi, level: 0 | 1): void {
    checkGsi(gsi);
    this.#irqLevel.view.setUint32(0, gsi, true);
    this.#irqLevel.view.setUint32(4, level, true);
  }
}
