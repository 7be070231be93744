import { HOST_THREADS } from "../../arch/arches.ts";
import { bindLibc, bindRepeatable, I32, I64, NativeBuffer } from "../../os/libc.ts";

const { BATCH_CODE, BATCH_HANDLER, NR } = HOST_THREADS;

/** Words of 64 bits that a step takes: number, six arguments, result, least result, length, and two addresses. */
const WORDS = 12;
const STEP_SIZE = WORDS * 8;
const [RESULT, LEAST, LENGTH, HERE, THERE] = [7, 8, 9, 10, 11] as const;
const MOST_STEPS = 16;
/** System calls return errnos negated, -4095 at the least. */
const MOST_ERRNO = 4095;
const PAGE = 4096;
const PROT = { READ: 1, WRITE: 2, EXEC: 4 } as const;
const MAP_PRIVATE_ANONYMOUS = 0x22;

const mmap = bindLibc("mmap", [I64, I64, I32, I32, I32, I64], I64);
const mprotect = bindLibc("mprotect", [I64, I64, I32]);
const copy = bindLibc("memmove", [I64, I64, I64], I64);
/** With one element bsearch(3) calls its comparison once: that is how code at an address is called. */
const bsearch = bindRepeatable("bsearch", [I64, I64, I64, I64, I64], I64);

let code: number | undefined;

/** The code of this architecture that runs steps, put where it can be run. @throws Error where memory can't be had. */
function codeAddress(): number {
  if (code !== undefined) return code;
  const { value, errno } = mmap(0, PAGE, PROT.READ | PROT.WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
  if (value < 0) throw new Error(`mmap failed with errno ${errno}`);
  const bytes = new NativeBuffer(BATCH_CODE.length);
  bytes.bytes.set(BATCH_CODE);
  copy(value, bytes.address, BATCH_CODE.length);
  const protectedAs = mprotect(value, PAGE, PROT.READ | PROT.EXEC);
  if (protectedAs.value < 0) throw new Error(`mprotect failed with errno ${protectedAs.errno}`);
  code = value;
  return value;
}

/**
 * The address of a signal's handler, to be installed with SA_SIGINFO, that ends a step which the kernel is at with EINTR:
 * also one that is made again after any other handler, as PTRACE_SEIZE is (kernel/ptrace.c, ERESTARTNOINTR).
 */
export function interruptHandler(): number {
  return codeAddress() + BATCH_HANDLER;
}

/** What must be so after a step, for the next one to be done. */
export interface Expected {
  /** The least that the call returns; 0 where not given, so no errno. */
  least?: number;
  /** Memory that is the same as other memory then: two addresses, and how many bytes. */
  same?: { here: number; there: number; length: number };
}

/**
 * System calls that are made one after the other, each if the one before came out as expected. They cost one call
 * into libc, and no time of JavaScript lies between them: a thread that waits for the next is not kept waiting.
 */
export class Steps {
  readonly #memory = new NativeBuffer((MOST_STEPS + 1) * STEP_SIZE);
  readonly #words = new Uint32Array(this.#memory.bytes.buffer);
  #size = 0;
  #at = 0;

  /** How many there are. */
  get size(): number {
    return this.#size;
  }

  /** Where it was stopped when it was run last: at a step that did not come out as expected, or behind the last. */
  get at(): number {
    return this.#at;
  }

  clear(): this {
    this.#size = 0;
    return this;
  }

  /**
   * Adds a system call by its number.
   *
   * @param args up to six, none negative; addresses as numbers.
   * @returns its place.
   */
  add(number: number, args: readonly number[], { least = 0, same }: Expected = {}): number {
    const step = this.#size++;
    if (step >= MOST_STEPS) throw new RangeError("too many steps");
    this.#set(step, 0, number);
    for (let place = 0; place < 6; place++) this.#set(step, 1 + place, args[place] ?? 0);
    this.#set(step, LEAST, least);
    this.#set(step, LENGTH, same?.length ?? 0);
    this.#set(step, HERE, same?.here ?? 0);
    this.#set(step, THERE, same?.there ?? 0);
    return step;
  }

  /** Reads from a file, here from another process's memory, all of what is asked for. */
  read(fd: number, to: number, length: number, from: number, sameAs?: number): number {
    const same = sameAs === undefined ? undefined : { here: to, there: sameAs, length };
    return this.add(NR.pread64, [fd, to, length, from], { least: length, ...(same && { same }) });
  }

  /** Writes to a file; see {@link read}. */
  write(fd: number, from: number, length: number, to: number): number {
    return this.add(NR.pwrite64, [fd, from, length, to], { least: length });
  }

  /** Changes an argument of a step, counted from 0. */
  setArgument(step: number, place: number, value: number): void {
    this.#set(step, 1 + place, value);
  }

  /** Changes whom a step traces or waits for, if it does. */
  setThread(step: number, tid: number): void {
    const number = this.#get(step, 0);
    if (number === NR.ptrace) this.#set(step, 2, tid);
    else if (number === NR.wait4) this.#set(step, 1, tid);
  }

  /** Changes what a step reads or writes: see {@link read}. */
  setFile(step: number, fd: number, length: number, position: number): void {
    this.#set(step, 1, fd);
    this.#set(step, 3, length);
    this.#set(step, 4, position);
    this.#set(step, LEAST, length);
  }

  /** Whether a step waits for a thread's stop. */
  isWait(step: number): boolean {
    return this.#get(step, 0) === NR.wait4;
  }

  /** Number and arguments of a step. */
  call(step: number): number[] {
    return Array.from({ length: 7 }, (_, word) => this.#get(step, word));
  }

  /** Whether a step reads or writes a file. */
  isFile(step: number): boolean {
    const number = this.#get(step, 0);
    return number === NR.pread64 || number === NR.pwrite64;
  }

  /** The errno of a step; 0 when it has none. */
  errno(step: number): number {
    const result = this.#words[(step * WORDS + RESULT) * 2]! | 0;
    return result < 0 && result >= -MOST_ERRNO ? -result : 0;
  }

  /** Runs those from one on. @returns the place of the one that did not come out as expected, or `until`. */
  run(from: number, until = this.#size): number {
    if (from >= until) return until;
    const { address } = this.#memory;
    const last = address + until * STEP_SIZE;
    // What stands there is the next step's number, or nothing.
    const number = this.#get(until, 0);
    bsearch(address + from * STEP_SIZE, last, 1, 1, codeAddress());
    this.#at = (this.#get(until, 0) - address) / STEP_SIZE;
    this.#set(until, 0, number);
    return this.#at;
  }

  #set(step: number, word: number, value: number): void {
    const at = (step * WORDS + word) * 2;
    this.#words[at] = value;
    this.#words[at + 1] = value / 2 ** 32;
  }

  #get(step: number, word: number): number {
    const at = (step * WORDS + word) * 2;
    return this.#words[at + 1]! * 2 ** 32 + this.#words[at]!;
  }
}
