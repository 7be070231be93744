import { SIZEOF } from "../abi/ioctl.ts";
import { NativeBuffer } from "../os/libc.ts";
import type { Register } from "../registers/bank.ts";
import { KvmFd } from "./fd.ts";

/** A device of a VM, whose registers are read one by one: Documentation/virt/kvm/devices/. */
export class Device extends KvmFd {
  /** A `struct kvm_device_attr`, and behind it the value that it points to. */
  readonly #attr = new NativeBuffer(SIZEOF.kvm_device_attr + 8);
  readonly #value = this.#attr.bytes.subarray(SIZEOF.kvm_device_attr);

  /**
   * KVM_GET_DEVICE_ATTR for each of some registers.
   *
   * @param group of `KVM_DEV_*`. @param base what their numbers are added to, such as a vCPU's in the upper half.
   * @param size bytes of the image.
   * @throws KvmError EBUSY while a vCPU runs, where the device wants them all to stand; ENXIO for a register that
   *   there is not.
   */
  read(group: number, base: bigint, registers: readonly Register[], size: number): Uint8Array {
    const image = new Uint8Array(size);
    for (const { attr, bytes, at } of registers) {
      this.#value.fill(0);
      this.#access("KVM_GET_DEVICE_ATTR", group, base + BigInt(attr));
      image.set(this.#value.subarray(0, bytes), at);
    }
    return image;
  }

  /** KVM_SET_DEVICE_ATTR for each of some registers, in their order; see {@link read}. */
  write(group: number, base: bigint, registers: readonly Register[], image: Uint8Array): void {
    for (const { attr, bytes, at } of registers) {
      this.#value.fill(0);
      this.#value.set(image.subarray(at, at + bytes));
      this.#access("KVM_SET_DEVICE_ATTR", group, base + BigInt(attr));
    }
  }

  /** @param name which of the two; the structure has flags, group, attr and addr. */
  #access(name: "KVM_GET_DEVICE_ATTR" | "KVM_SET_DEVICE_ATTR", group: number, attr: bigint): void {
    const { view } = this.#attr;
    view.setUint32(4, group, true);
    view.setBigUint64(8, attr, true);
    view.setBigUint64(16, BigInt(this.#attr.address + SIZEOF.kvm_device_attr), true);
    this.ioctl(name, this.#attr);
  }
}
