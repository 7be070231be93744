import { ERRNO } from "../abi/errno.ts";
import type { IoctlName } from "../abi/ioctl.ts";
import type { VcpuPart } from "../arch/arch.ts";
import { HOST_ARCH } from "../arch/arches.ts";
import { NativeBuffer } from "../os/libc.ts";
import { checkStateSize } from "../vm/checks.ts";
import { type IoctlCaller, KvmFd } from "./fd.ts";
import { KvmError } from "./kvm-error.ts";

/** What a vCPU of this host has, and how large it is. */
const PARTS: readonly VcpuPart[] = [...HOST_ARCH.chipKinds, HOST_ARCH.vcpu!].flatMap(({ access }) =>
  "vcpu" in access ? access.vcpu : [],
);
const sizeOf = (get: IoctlName) => PARTS.find((part) => part.get === get)!.size;

/** A vCPU: its local APIC, and what decides whether it takes an interrupt. */
export class Vcpu extends KvmFd {
  /** The vCPU's number, which is its local APIC's id after reset. */
  readonly id: number;
  readonly #buffer = new NativeBuffer(Math.max(...PARTS.map(({ size }) => size)));

  /** @param call where `fd` is open, when it is not this process. */
  constructor(fd: number, id: number, call?: IoctlCaller) {
    super(fd, call);
    this.id = id;
  }

  /**
   * KVM_GET_LAPIC.
   *
   * @returns `struct kvm_lapic_state`: the first 1024 bytes of the register page.
   * @throws KvmError EINVAL when the VM has no in-kernel irqchip.
   */
  getLapic(): Uint8Array {
    return this.#readOf("KVM_GET_LAPIC");
  }

  /**
   * KVM_SET_LAPIC.
   *
   * @param state exactly 1024 bytes.
   * @throws KvmError EINVAL when the VM has no in-kernel irqchip or the id does not fit the APIC's mode.
   */
  setLapic(state: Uint8Array): void {
    checkStateSize("lapic", sizeOf("KVM_GET_LAPIC"), state);
    this.write("KVM_SET_LAPIC", state);
  }

  /** KVM_GET_REGS: `struct kvm_regs`, 144 bytes. */
  getRegs(): Uint8Array {
    return this.#readOf("KVM_GET_REGS");
  }

  /** KVM_GET_SREGS: `struct kvm_sregs`, 312 bytes. */
  getSregs(): Uint8Array {
    return this.#readOf("KVM_GET_SREGS");
  }

  /** KVM_SET_REGS. @param state a `struct kvm_regs`, 144 bytes. */
  setRegs(state: Uint8Array): void {
    this.write("KVM_SET_REGS", state);
  }

  /** KVM_SET_SREGS. @param state a `struct kvm_sregs`, 312 bytes. @throws KvmError EINVAL. */
  setSregs(state: Uint8Array): void {
    this.write("KVM_SET_SREGS", state);
  }

  /** KVM_GET_VCPU_EVENTS: `struct kvm_vcpu_events`, 64 bytes: pending and injected events, shadow. */
  getVcpuEvents(): Uint8Array {
    return this.#readOf("KVM_GET_VCPU_EVENTS");
  }

  /** KVM_GET_MP_STATE: `struct kvm_mp_state`, 4 bytes. */
  getMpState(): Uint8Array {
    return this.#readOf("KVM_GET_MP_STATE");
  }

  /** What decides whether the vCPU takes an interrupt: `kvm_regs`, `kvm_sregs`, `kvm_vcpu_events`, `kvm_mp_state`. */
  getImage(): Uint8Array {
    return joined([this.getRegs(), this.getSregs(), this.getVcpuEvents(), this.getMpState()]);
  }

  /** Structures that ioctls fill, one behind the other. */
  read(parts: readonly VcpuPart[]): Uint8Array {
    return joined(parts.map(({ get, size, others = [] }) => this.#readOf(get, [size, ...others])));
  }

  /** Runs an ioctl that takes a structure. */
  write(name: IoctlName, state: Uint8Array): void {
    this.#buffer.bytes.set(state);
    this.ioctl(name, this.#buffer, state.length);
  }

  /** An ioctl that a kernel knows with one of several sizes; KVM says EINVAL, or ENOTTY, to a number that it has not. */
  #readOf(name: IoctlName, [size, ...others]: readonly number[] = [sizeOf(name)]): Uint8Array {
    try {
      return this.#read(name, size!);
    } catch (error) {
      const isUnknown = error instanceof KvmError && [ERRNO.EINVAL, ERRNO.ENOTTY].includes(error.errno);
      if (!isUnknown || others.length === 0) throw error;
      return this.#readOf(name, others);
    }
  }

  #read(name: IoctlName, size: number): Uint8Array {
    this.#buffer.bytes.fill(0, 0, size);
    this.ioctl(name, this.#buffer, size);
    return new Uint8Array(this.#buffer.bytes.subarray(0, size));
  }
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(Buffer.concat(parts));
}
