import { type IoctlName, requestOf } from "../abi/ioctl.ts";
import { close, ioctl, type LibcResult, type NativeBuffer } from "../os/libc.ts";
import { KvmError } from "./kvm-error.ts";

/**
 * Runs ioctl(2) somewhere: in this process, or in a stopped thread of the process that owns the VM.
 *
 * @param argument a number, or the structure that the ioctl reads and fills.
 */
export type IoctlCaller = (fd: number, request: number, argument: number | NativeBuffer) => LibcResult;

const callHere: IoctlCaller = (fd, request, argument) =>
  ioctl(fd, request, typeof argument === "number" ? argument : argument.address);

/** A KVM file descriptor: the device's, a VM's or a vCPU's. */
export class KvmFd {
  readonly fd: number;
  readonly #call: IoctlCaller;
  #open = true;

  /** @param call where the descriptor is open, when it is not this process. */
  constructor(fd: number, call: IoctlCaller = callHere) {
    this.fd = fd;
    this.#call = call;
  }

  /**
   * Runs an ioctl.
   *
   * @param argument a number or a structure, as the ioctl wants it.
   * @param size bytes of the structure, where it is not the usual one.
   * @returns what the kernel returned, 0 or more.
   * @throws KvmError with the errno, when it returned -1.
   */
  protected ioctl(name: IoctlName, argument: number | NativeBuffer = 0, size?: number): number {
    const { value, errno } = this.#call(this.fd, requestOf(name, size), argument);
    if (value < 0) throw new KvmError(name, errno);
    return value;
  }

  /** Closes a descriptor of this process. A VM's memory goes when its last descriptor, vCPUs' included, is closed. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    close(this.fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
