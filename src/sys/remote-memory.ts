import { bindLibc, I64, NativeBuffer } from "./libc.ts";

const readv = bindLibc("process_vm_readv", [I64, I64, I64, I64, I64, I64], I64);
const writev = bindLibc("process_vm_writev", [I64, I64, I64, I64, I64, I64], I64);

/** The memory of another process, through process_vm_readv(2) and process_vm_writev(2). */
export class RemoteMemory {
  readonly #pid: number;
  readonly #local = new NativeBuffer(16);
  readonly #remote = new NativeBuffer(16);

  constructor(pid: number) {
    this.#pid = pid;
  }

  /**
   * Copies from the other process.
   *
   * @param from an address there; user addresses have 47 bits.
   * @param to where to, `length` bytes from its start.
   * @throws Error when not all of it could be copied.
   */
  read(from: bigint, to: NativeBuffer, length: number): void {
    this.#copy("read", readv, from, to, length);
  }

  /** Copies to the other process; see {@link read}. */
  write(to: bigint, from: NativeBuffer, length: number): void {
    this.#copy("write", writev, to, from, length);
  }

  #copy(verb: string, call: typeof readv, there: bigint, here: NativeBuffer, length: number): void {
    this.#local.view.setBigUint64(0, BigInt(here.address), true);
    this.#local.view.setBigUint64(8, BigInt(length), true);
    this.#remote.view.setBigUint64(0, there, true);
    this.#remote.view.setBigUint64(8, BigInt(length), true);
    const { value, errno } = call(this.#pid, this.#local.address, 1, this.#remote.address, 1, 0);
    if (value !== length) {
      throw new Error(
        `could not ${verb} ${length} bytes at 0x${there.toString(16)} of process ${this.#pid}: ` +
          (value < 0 ? `errno ${errno}` : `only ${value} done`),
      );
    }
  }
}
