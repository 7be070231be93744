import { IOCTL, type IoctlName } from "../abi/ioctl.ts";
import { KvmError } from "./kvm-error.ts";
import { close, ioctl } from "./libc.ts";

/** A KVM file descriptor: the device's, a VM's or a vCPU's. */
export class KvmFd {
  readonly fd: number;
  #open = true;

  constructor(fd: number) {
    this.fd = fd;
  }

  /**
   * Runs an ioctl.
   *
   * @param argument a number or an address, as the ioctl wants it.
   * @returns what the kernel returned, 0 or more.
   * @throws KvmError with the errno, when it returned -1.
   */
  protected ioctl(name: IoctlName, argument = 0): number {
    const { value, errno } = ioctl(this.fd, IOCTL[name], argument);
    if (value < 0) throw new KvmError(name, errno);
    return value;
  }

  /** Closes the descriptor. A VM's memory goes when its last descriptor, vCPUs' included, is closed. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    close(this.fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
