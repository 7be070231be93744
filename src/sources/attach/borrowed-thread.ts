import { HOST_THREADS } from "../../arch/arches.ts";
import type { LibcResult } from "../../os/libc.ts";
import { NativeBuffer } from "../../os/libc.ts";
import type { ProcessId } from "../../os/proc.ts";
import { arePagesThere, type Gadgets, hasStackRoom, type Mapping, SYSCALL } from "./address-space.ts";
import { ARGUMENT_ROOM, type BorrowedCall } from "./borrowed-call.ts";
import { HeldThreads } from "./held-threads.ts";
import { onStage, STEPS } from "./ptrace.ts";
import { RemoteMemory } from "./remote-memory.ts";
import { Tracee } from "./tracee.ts";

const {
  ARGUMENTS,
  ERESTARTNOHAND,
  NR,
  RED_ZONE,
  SYSCALL_INSTRUCTION_SIZE,
  USER_CS_64,
  USER_REGS_SIZE,
  buildSigframe,
  makeCallAgain,
  readRegister,
  sigframeSize,
  writeRegister,
} = HOST_THREADS;

/**
 * What is known of a process before one of its threads is stopped. It may run another program by then: code is
 * looked at again.
 */
export interface Surroundings {
  pid: ProcessId;
  mappings: readonly Mapping[];
  /** Whether it has a userfaultfd(2): then pages that are not there may be its to fill, and let us wait. */
  userfaultfd: boolean;
  gadgets: Gadgets;
}

/** The process no longer has the code or the descriptors that were found there. It may run another program now. */
export class ChangedProcessError extends Error {}

/** The most that is written below the stack pointer: argument, frame, the largest extended state. */
const SAVED_ROOM = 32 * 1024;
/** What most CPUs need of it: up to AVX-512. */
const USED_ROOM = 5 * 1024;
/** The offset of `rseq_cs` in `struct rseq` (<linux/rseq.h>). */
const RSEQ_CS = 8n;
const PROT_READ_WRITE = 3;
const MAP_PRIVATE_ANONYMOUS = 0x22;
/** A system call's answers from -4095 on are errnos. */
const MOST_ERRNO = 4095n;

/** What single steps fill, shared by all threads: each uses it up before the next one starts. */
const STAGING = new NativeBuffer(SAVED_ROOM);
/** Code as it is found in a process, and from the middle on as it is to be. */
const CODE = new NativeBuffer(128);
/** The registers with which a thread makes a call of ours. */
const CALL = new NativeBuffer(USER_REGS_SIZE);
/** What threads keep, and those after them: a stop is no time to get memory from the kernel. */
const spares: { saved: NativeBuffer; own: NativeBuffer }[] = [];

/**
 * A stopped thread of another process, made to run system calls and put back as it was.
 *
 * One that was stopped in a system call is let enter the kernel with that call again, and there gets ours in its
 * place. Behind it, it gets the registers with which it would make its own call again. Another thread is sent
 * through a `syscall` instruction of the process with a call of ours.
 *
 * From when it has ours until that has been made, its stack pointer stands at a signal frame with its true registers,
 * and what comes behind the call leads to rt_sigreturn(2). So if this process is killed half-way, the thread finishes
 * the one call, returns into the frame and goes on where it was.
 */
export class BorrowedThread {
  readonly #tracee: Tracee;
  readonly #surroundings: Surroundings;
  /** The registers with which it makes the call again that it was stopped in, if it was in one. */
  readonly #own: NativeBuffer;
  #hasOwn = false;
  /** The address of its frame, where it has one. */
  #frame: bigint | undefined;
  readonly #saved: NativeBuffer;
  /** What was overwritten: a stretch of the stack. */
  #savedAt: bigint | undefined;
  #savedSize = 0;
  /** A mapping made for the purpose, where the stack would not do, and the thread that made it. */
  #mapping: { address: bigint; by: BorrowedThread } | undefined;
  readonly #mapper: () => BorrowedThread | undefined;
  #argument = 0n;
  /** Opened while the thread is held: an exec by another thread would have ended it. */
  #memory: RemoteMemory | undefined;
  #borrowed = false;
  #ended = false;
  #deadline: () => bigint;

  /**
   * @param deadline gives the `process.hrtime.bigint()` until which a wait that starts now may last.
   * @param mapper gives another thread of the process, with a stack that will do, to map memory for this one; it is
   *   given back after this one.
   */
  constructor(
    tracee: Tracee,
    surroundings: Surroundings,
    deadline: () => bigint,
    mapper: () => BorrowedThread | undefined = () => undefined,
  ) {
    const spare = spares.pop();
    this.#own = spare?.own ?? new NativeBuffer(USER_REGS_SIZE);
    this.#saved = spare?.saved ?? new NativeBuffer(SAVED_ROOM);
    this.#mapper = mapper;
    this.#tracee = tracee;
    this.#surroundings = surroundings;
    this.#deadline = deadline;
  }

  /**
   * ioctl(2) in the thread. The first call borrows it; {@link giveBack} ends that.
   *
   * @param argument a number, or a structure, which is copied there and back.
   */
  ioctl(fd: number, request: number, argument: number | NativeBuffer): LibcResult {
    if (!this.#borrowed) this.#borrow();
    if (typeof argument === "number") return this.#syscall(NR.ioctl, [fd, request, argument]);
    const structure = { bytes: argument.bytes, address: this.#argument };
    return this.#syscall(NR.ioctl, [fd, request, this.#argument], structure);
  }

  /** Puts registers, signal mask and memory back as they were at the stop. */
  giveBack(): void {
    if (this.#ended) return;
    this.#ended = true;
    try {
      if (this.#borrowed) this.#putBack();
    } finally {
      this.#memory?.close();
      this.#memory = undefined;
      spares.push({ saved: this.#saved, own: this.#own });
    }
  }

  #putBack(): void {
    this.#borrowed = false;
    // A thread that does not come back from a call in time is left its frame, to find back by itself.
    if (!this.#tracee.stopped) return;
    try {
      if (this.#mapping?.by === this) this.#unmap(this.#mapping.address);
    } finally {
      this.#restore();
    }
    // Only now, that its own thread is off it.
    if (this.#mapping !== undefined && this.#mapping.by !== this) {
      this.#mapping.by.#unmap(this.#mapping.address);
    }
  }

  #restore(): void {
    if (!this.#tracee.stopped) return;
    STEPS.clear();
    this.#tracee.addRestoring();
    if (this.#savedAt !== undefined) {
      STEPS.write(this.#memory!.fd, this.#saved.address, this.#savedSize, Number(this.#savedAt));
    }
    if (this.#tracee.run() < STEPS.size) throw new Error("could not put the stack back");
  }

  /** Whether what borrowing writes can stand below the thread's stack pointer. */
  stackWillDo(room = USED_ROOM): boolean {
    const { tid, regs } = this.#tracee;
    return stackWillDo(this.#surroundings, tid, readRegister(regs.view, "rsp"), room);
  }

  #borrow(): void {
    const { regs } = this.#tracee;
    const { restorer } = this.#surroundings.gadgets;
    if (readRegister(regs.view, "cs") !== USER_CS_64) throw new Error("the thread is running 32-bit code");
    const memory = new RemoteMemory(this.#surroundings.pid, this.#tracee.tid);
    this.#memory = memory;
    const { signalMask, xstate } = this.#begin(memory);
    this.#leaveCriticalSection(memory);
    const base = this.#findRoom(ARGUMENT_ROOM + sigframeSize(xstate.length) + 128);
    this.#argument = base;
    STEPS.clear();
    if (this.#savedSize > 0) STEPS.read(memory.fd, this.#saved.address, this.#savedSize, Number(base));
    if (restorer !== undefined) {
      const frameAt = base + BigInt(ARGUMENT_ROOM) + 64n;
      const frame = buildSigframe(frameAt, regs.view, signalMask, xstate);
      this.#frame = frameAt + BigInt(frame.context);
      STAGING.bytes.set(frame.bytes);
      // The return address stands just below the context, as in a signal handler's frame.
      STAGING.view.setBigUint64(frame.context - 8, restorer, true);
      STEPS.write(memory.fd, STAGING.address, frame.bytes.length, Number(frameAt));
    }
    const done = this.#tracee.run();
    if (this.#savedSize > 0 && done > 0) this.#savedAt = base;
    if (done < STEPS.size) throw new Error("could not reach the stack");
  }

  /**
   * Looks at the code again, reads what the frame takes beside the registers, and finds out where the thread would make
   * the call again that it was stopped in, if it entered the kernel by a `syscall`.
   */
  #begin({ fd }: RemoteMemory): ReturnType<Tracee["borrowed"]> {
    const { code } = this.#surroundings.gadgets;
    const { bytes, view } = this.#own;
    bytes.set(this.#tracee.regs.bytes);
    STEPS.clear();
    const half = CODE.bytes.length / 2;
    let at = 0;
    const expect = (address: bigint, bytes: Buffer) => {
      CODE.bytes.set(bytes, half + at);
      STEPS.read(fd, CODE.address + at, bytes.length, Number(address), CODE.address + half + at);
      at += bytes.length;
    };
    for (const { address, bytes } of code) expect(address, bytes);
    this.#tracee.addBorrowing();
    const needed = STEPS.size;
    const again = makeCallAgain(view);
    if (again) expect(readRegister(view, "rip"), SYSCALL);
    const done = this.#tracee.run();
    if (done < needed) throw new ChangedProcessError("other code stands where a system call was found");
    this.#hasOwn = again && done === STEPS.size;
    return this.#tracee.borrowed();
  }

  /**
   * A thread that is stopped inside a restartable sequence goes on at its abort handler, as the kernel has it
   * (kernel/rseq.c, rseq_ip_fixup). The kernel itself would not see to that any more: it looks at where the thread
   * is at the first borrowed call, finds it outside, and forgets the sequence.
   */
  #leaveCriticalSection(memory: RemoteMemory): void {
    const { view } = this.#tracee.regs;
    // A system call ends no sequence, and is not allowed in one.
    if (BigInt.asIntN(64, readRegister(view, "orig_rax")) >= 0n) return;
    const rseq = this.#tracee.rseqAddress();
    if (rseq === 0n) return;
    memory.read(rseq + RSEQ_CS, STAGING, 8);
    const section = STAGING.view.getBigUint64(0, true);
    if (section === 0n) return;
    // struct rseq_cs: version, flags, then start_ip, post_commit_offset and abort_ip.
    memory.read(section, STAGING, 32);
    const [start, length, abort] = [8, 16, 24].map((offset) => STAGING.view.getBigUint64(offset, true));
    if (BigInt.asUintN(64, readRegister(view, "rip") - start!) < length!) writeRegister(view, "rip", abort!);
  }

  /** Room for argument and frame: below the stack pointer, or in pages of their own. */
  #findRoom(room: number): bigint {
    this.#borrowed = true;
    if (!this.stackWillDo(room)) {
      const by = this.#mapper() ?? this;
      const address = by.#map();
      this.#mapping = { address, by };
      return address;
    }
    const top = topOf(readRegister(this.#tracee.regs.view, "rsp"));
    const base = (top - BigInt(room)) & ~63n;
    this.#savedSize = Number(top - base);
    return base;
  }

  #map(): bigint {
    if (!this.#borrowed) this.#borrow();
    const args = [0, SAVED_ROOM, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0];
    const { value, errno } = this.#syscall(NR.mmap, args);
    if (value < 0) throw new Error(`mmap in thread ${this.#tracee.tid} failed with errno ${errno}`);
    return BigInt(value);
  }

  #unmap(address: bigint): void {
    this.#syscall(NR.munmap, [address, SAVED_ROOM]);
  }

  #syscall(
    number: number,
    args: readonly (number | bigint)[],
    argument?: BorrowedCall["argument"],
  ): LibcResult {
    const tracee = this.#tracee;
    const run = (call: BorrowedCall) => tracee.runSyscall({ ...call, argument }, this.#deadline());
    const isOwn = this.#hasOwn && !tracee.signalsBlocked;
    let result = run(isOwn ? this.#inPlaceOfOwn(number, args) : this.#throughGadget(number, args));
    if (result === undefined) {
      // A signal came. It waits until the thread is given back: with the frame in place, which has the true mask.
      const call = this.#throughGadget(number, args);
      tracee.setRegs(call.entry);
      tracee.blockSignals();
      result = run(call);
    }
    if (result === undefined) throw new Error(`thread ${tracee.tid} can't be kept from its signals`);
    return result < 0n && result >= -MOST_ERRNO
      ? { value: -1, errno: Number(-result) }
      : { value: Number(result), errno: 0 };
  }

  /** The thread enters the kernel with its own call, and makes this one there. */
  #inPlaceOfOwn(number: number, args: readonly (number | bigint)[]): BorrowedCall {
    CALL.bytes.set(this.#tracee.regs.bytes);
    writeRegister(CALL.view, "orig_rax", BigInt(number));
    writeArguments(CALL.view, args);
    if (this.#frame !== undefined) {
      writeRegister(CALL.view, "rip", this.#surroundings.gadgets.restorer!);
      writeRegister(CALL.view, "rsp", this.#frame);
    }
    return { entry: this.#own, call: CALL, rest: this.#own, fd: this.#memory!.fd };
  }

  /** The thread is sent through a `syscall` instruction. */
  #throughGadget(number: number, args: readonly (number | bigint)[]): BorrowedCall {
    CALL.bytes.set(this.#tracee.regs.bytes);
    writeRegister(CALL.view, "rax", BigInt(number));
    writeRegister(CALL.view, "orig_rax", -1n);
    writeRegister(CALL.view, "rip", this.#surroundings.gadgets.syscall);
    // The return address that the `ret` takes stands just below the frame.
    if (this.#frame !== undefined) writeRegister(CALL.view, "rsp", this.#frame - 8n);
    writeArguments(CALL.view, args);
    return { entry: CALL, call: CALL, rest: this.#tracee.regs, fd: this.#memory!.fd };
  }
}

function writeArguments(regs: DataView, args: readonly (number | bigint)[]): void {
  ARGUMENTS.forEach((name, place) => {
    writeRegister(regs, name, BigInt(args[place] ?? 0));
  });
}

/** Whether what borrowing writes can stand below a stack pointer: on a stack that is known to be one. */
export function stackWillDo(
  { pid, mappings, userfaultfd }: Surroundings,
  tid: number,
  stackPointer: bigint,
  room = USED_ROOM,
): boolean {
  const top = topOf(stackPointer);
  const base = top - BigInt(room + 64);
  if (!hasStackRoom(mappings, top, room + 64)) return false;
  return !userfaultfd || arePagesThere(`${pid}/task/${tid}`, base, top);
}

function topOf(stackPointer: bigint): bigint {
  return (stackPointer - BigInt(RED_ZONE)) & ~63n;
}

/**
 * Borrows a thread that is not there, with memory of this process's for its stack: what is done first is slow, and
 * so has been done before a thread is stopped.
 *
 * @param work what will be done with a borrowed thread.
 */
export function rehearseBorrowing(work: (thread: BorrowedThread, tracee: Tracee) => void): void {
  const stack = new NativeBuffer(SAVED_ROOM);
  const start = BigInt(stack.address);
  const end = start + BigInt(SAVED_ROOM);
  const regs = new NativeBuffer(USER_REGS_SIZE);
  writeRegister(regs.view, "cs", USER_CS_64);
  writeRegister(regs.view, "rsp", end);
  writeRegister(regs.view, "rip", start + SYSCALL_INSTRUCTION_SIZE);
  writeRegister(regs.view, "rax", ERESTARTNOHAND);
  const mappings: Mapping[] = [
    { start: 0n, end: start, perms: "---p", name: "" },
    { start, end: end + 1n, perms: "rw-p", name: "" },
  ];
  stack.bytes.set(SYSCALL);
  const code = [{ address: start, bytes: SYSCALL }];
  const around: Surroundings = {
    pid: "self",
    mappings,
    userfaultfd: false,
    gadgets: { syscall: start, restorer: start, code },
  };
  onStage(regs, REHEARSED_XSTATE, () => {
    const deadline = () => process.hrtime.bigint();
    const held = new HeldThreads(deadline, () => true);
    const [tracee] = held.stop([new Tracee(process.pid, false)]);
    const thread = new BorrowedThread(tracee!, around, deadline);
    work(thread, tracee!);
    thread.giveBack();
    held.release();
  });
}

/** The size of the extended state with AVX-512. */
const REHEARSED_XSTATE = 2696;
