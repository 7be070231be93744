import { DataType, load, open as openLibrary } from "ffi-rs";

/**
 * libc as this program calls it. Every argument is an integer: buffers go in by address (see
 * {@link NativeBuffer}), which is both faster than handing ffi-rs a Buffer and what nested structures need.
 */

const LIBC = "libc";
// The empty path is the running program itself, which has libc linked in: glibc and musl alike.
openLibrary({ library: LIBC, path: "" });

type Integer = typeof DataType.I32 | typeof DataType.I64;
type Outcome = { value: number; errnoCode: number };

/** What a libc call returned. `errno` is only meaningful when `value` is -1. */
export interface LibcResult {
  value: number;
  errno: number;
}

/**
 * Binds a libc function that takes and returns integers.
 *
 * Numbers up to 2^53 go in exactly; user-space addresses have 47 bits and ioctl numbers 32.
 */
export function bindLibc(
  funcName: string,
  paramsType: Integer[],
  retType: Integer = DataType.I32,
): (...args: number[]) => LibcResult {
  const call = {
    library: LIBC,
    funcName,
    retType,
    paramsType,
    errno: true as const,
    paramsValue: [] as number[],
  };
  return (...args) => {
    call.paramsValue = args;
    const outcome = load(call) as unknown as Outcome;
    return { value: outcome.value, errno: outcome.errnoCode };
  };
}

/**
 * Binds a libc function that may be called again where it fails, and then fails as before or else is done. Errno is
 * only asked for then: without it a call takes half the time.
 */
export function bindRepeatable(
  funcName: string,
  paramsType: Integer[],
  retType: Integer = DataType.I32,
): (...args: number[]) => LibcResult {
  const again = bindLibc(funcName, paramsType, retType);
  const call = { library: LIBC, funcName, retType, paramsType, paramsValue: [] as number[] };
  return (...args) => {
    call.paramsValue = args;
    const value = load(call) as number;
    return value === -1 ? again(...args) : { value, errno: 0 };
  };
}

export const I32 = DataType.I32;
export const I64 = DataType.I64;

/**
 * Memory with an address that stays: a Buffer with a backing store of its own, which V8 never moves while
 * the Buffer lives.
 */
export class NativeBuffer {
  readonly bytes: Buffer;
  readonly view: DataView;
  #address: number | undefined;

  constructor(size: number) {
    // A slab of the shared pool would do too, but its neighbours are other people's strings.
    this.bytes = Buffer.from(new ArrayBuffer(Math.max(size, 1)));
    this.view = new DataView(this.bytes.buffer);
  }

  /** Where the bytes are, as the kernel wants it. Asked for at its first use: that is slower than all the rest. */
  get address(): number {
    this.#address ??= addressOf(this.bytes);
    return this.#address;
  }
}

/** memmove(p, p, 0) returns p. */
function addressOf(buffer: Buffer): number {
  return load({
    library: LIBC,
    funcName: "memmove",
    retType: DataType.I64,
    paramsType: [DataType.U8Array, DataType.U8Array, DataType.I64],
    paramsValue: [buffer, buffer, 0],
  }) as number;
}

/**
 * ioctl(2) on a thread of libuv's pool, for one that blocks. The result comes through the event loop.
 *
 * @param argument a number or an address; what is there must stay until then.
 */
export async function ioctlOffThread(fd: number, request: number, argument: number): Promise<LibcResult> {
  const outcome = (await load({
    library: LIBC,
    funcName: "ioctl",
    retType: DataType.I32,
    paramsType: [I32, I64, I64],
    paramsValue: [fd, request, argument],
    errno: true,
    runInNewThread: true,
  })) as unknown as Outcome;
  return { value: outcome.value, errno: outcome.errnoCode };
}

const ioctlCall = bindLibc("ioctl", [I32, I64, I64]);
const closeCall = bindLibc("close", [I32]);

/** ioctl(2) with a third argument that is a number or an address. */
export function ioctl(fd: number, request: number, argument: number): LibcResult {
  return ioctlCall(fd, request, argument);
}

/** open(2), close-on-exec. */
export function open(path: string, flags: number): LibcResult {
  const outcome = load({
    library: LIBC,
    funcName: "open",
    retType: DataType.I32,
    paramsType: [DataType.String, DataType.I32],
    paramsValue: [path, flags | O_CLOEXEC],
    errno: true,
  }) as unknown as Outcome;
  return { value: outcome.value, errno: outcome.errnoCode };
}

/** `O_CLOEXEC` of Linux on x86-64 and arm64. */
const O_CLOEXEC = 0o2000000;

/** close(2). An error is of no use to anyone: the descriptor is gone either way. */
export function close(fd: number): void {
  closeCall(fd);
}
