import { buildSigframe, sigframeSize } from "../abi/x86/sigframe.ts";
import {
  ARGUMENTS,
  NR,
  RED_ZONE,
  readRegister,
  USER_CS_64,
  USER_REGS_SIZE,
  writeRegister,
} from "../abi/x86/user-regs.ts";
import type { LibcResult } from "../os/libc.ts";
import { NativeBuffer } from "../os/libc.ts";
import type { ProcessId } from "../os/proc.ts";
import { arePagesThere, type Gadgets, hasStackRoom, type Mapping } from "./address-space.ts";
import { HeldThreads } from "./held-threads.ts";
import { onStage, Tracee } from "./ptrace.ts";
import { RemoteMemory } from "./remote-memory.ts";

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

/** Bytes of the largest structure that an ioctl of ours takes: `struct kvm_lapic_state`. */
const ARGUMENT_ROOM = 1024;
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

/**
 * A stopped thread of another process, made to run system calls and put back as it was.
 *
 * While it is borrowed its stack pointer stands at a signal frame with its true registers, and the `syscall`
 * instruction used has a `ret` behind it that leads to rt_sigreturn(2). So if this process is killed
 * half-way, the thread finishes the one call, returns into the frame and goes on where it was.
 */
export class BorrowedThread {
  readonly #tracee: Tracee;
  readonly #surroundings: Surroundings;
  readonly #regs = new NativeBuffer(USER_REGS_SIZE);
  readonly #saved = new NativeBuffer(SAVED_ROOM);
  readonly #staging = new NativeBuffer(SAVED_ROOM);
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
    if (typeof argument === "number") return this.#syscall(NR.ioctl, fd, request, argument);
    const memory = this.#memory!;
    const size = argument.bytes.length;
    memory.write(this.#argument, argument, size);
    const outcome = this.#syscall(NR.ioctl, fd, request, this.#argument);
    memory.read(this.#argument, argument, size);
    return outcome;
  }

  /** Puts registers, signal mask and memory back as they were at the stop. */
  giveBack(): void {
    try {
      if (this.#borrowed) this.#putBack();
    } finally {
      this.#memory?.close();
      this.#memory = undefined;
    }
  }

  #putBack(): void {
    this.#borrowed = false;
    // A thread that does not come back from a call in time is left its frame, to find back by itself.
    if (!this.#tracee.stopped) return;
    try {
      if (this.#mapping?.by === this) this.#unmap(this.#mapping.address);
    } finally {
      this.#tracee.restore();
      if (this.#savedAt !== undefined) this.#memory!.write(this.#savedAt, this.#saved, this.#savedSize);
    }
    // Only now, that its own thread is off it.
    if (this.#mapping !== undefined && this.#mapping.by !== this) {
      this.#mapping.by.#unmap(this.#mapping.address);
    }
  }

  /** Whether what borrowing writes can stand below the thread's stack pointer. */
  stackWillDo(room = USED_ROOM): boolean {
    const { tid, regs } = this.#tracee;
    return stackWillDo(this.#surroundings, tid, readRegister(regs.view, "rsp"), room);
  }

  #borrow(): void {
    const { regs } = this.#tracee;
    const { restorer, syscall } = this.#surroundings.gadgets;
    if (readRegister(regs.view, "cs") !== USER_CS_64) throw new Error("the thread is running 32-bit code");
    const memory = this.#openMemory();
    this.#leaveCriticalSection(memory);
    this.#tracee.suspendSeccomp();
    this.#regs.bytes.set(regs.bytes);
    writeRegister(this.#regs.view, "rip", syscall);
    writeRegister(this.#regs.view, "orig_rax", -1n);
    const signalMask = this.#tracee.signalMask();
    const xstate = this.#tracee.extendedState();
    const base = this.#findRoom(memory, ARGUMENT_ROOM + sigframeSize(xstate.length) + 128);
    this.#argument = base;
    if (restorer === undefined) return;
    const frameAt = base + BigInt(ARGUMENT_ROOM) + 64n;
    const frame = buildSigframe(frameAt, regs.view, signalMask, xstate);
    const context = frameAt + BigInt(frame.context);
    this.#staging.bytes.set(frame.bytes);
    // The return address that `ret` takes stands just below the context, as in a signal handler's frame.
    this.#staging.view.setBigUint64(frame.context - 8, restorer, true);
    memory.write(frameAt, this.#staging, frame.bytes.length);
    writeRegister(this.#regs.view, "rsp", context - 8n);
  }

  #openMemory(): RemoteMemory {
    const { gadgets, pid } = this.#surroundings;
    const memory = new RemoteMemory(pid, this.#tracee.tid);
    this.#memory = memory;
    if (!gadgets.code.every(({ address, bytes }) => memory.has(address, bytes))) {
      throw new ChangedProcessError("other code stands where a system call was found");
    }
    return memory;
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
    memory.read(rseq + RSEQ_CS, this.#staging, 8);
    const section = this.#staging.view.getBigUint64(0, true);
    if (section === 0n) return;
    // struct rseq_cs: version, flags, then start_ip, post_commit_offset and abort_ip.
    memory.read(section, this.#staging, 32);
    const [start, length, abort] = [8, 16, 24].map((offset) => this.#staging.view.getBigUint64(offset, true));
    if (BigInt.asUintN(64, readRegister(view, "rip") - start!) < length!) writeRegister(view, "rip", abort!);
  }

  /** Room for argument and frame: below the stack pointer, or in pages of their own. */
  #findRoom(memory: RemoteMemory, room: number): bigint {
    if (!this.stackWillDo(room)) {
      const by = this.#mapper() ?? this;
      this.#borrowed = true;
      const address = by.#map();
      this.#mapping = { address, by };
      return address;
    }
    const top = topOf(readRegister(this.#tracee.regs.view, "rsp"));
    const base = (top - BigInt(room)) & ~63n;
    this.#savedSize = Number(top - base);
    memory.read(base, this.#saved, this.#savedSize);
    this.#savedAt = base;
    this.#borrowed = true;
    return base;
  }

  #map(): bigint {
    if (!this.#borrowed) this.#borrow();
    const { value, errno } = this.#syscall(
      NR.mmap,
      0,
      SAVED_ROOM,
      PROT_READ_WRITE,
      MAP_PRIVATE_ANONYMOUS,
      -1,
      0,
    );
    if (value < 0) throw new Error(`mmap in thread ${this.#tracee.tid} failed with errno ${errno}`);
    return BigInt(value);
  }

  #unmap(address: bigint): void {
    this.#syscall(NR.munmap, address, SAVED_ROOM);
  }

  #syscall(number: number, ...args: (number | bigint)[]): LibcResult {
    writeRegister(this.#regs.view, "rax", BigInt(number));
    ARGUMENTS.forEach((name, place) => {
      writeRegister(this.#regs.view, name, BigInt(args[place] ?? 0));
    });
    this.#tracee.setRegs(this.#regs);
    // Only now: from here on the frame, which has the true mask, is what the thread would come back to.
    this.#tracee.blockSignals();
    const result = this.#tracee.runSyscall(this.#regs, this.#deadline());
    return result < 0n && result >= -MOST_ERRNO
      ? { value: -1, errno: Number(-result) }
      : { value: Number(result), errno: 0 };
  }
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
  const mappings: Mapping[] = [
    { start: 0n, end: start, perms: "---p", name: "" },
    { start, end: end + 1n, perms: "rw-p", name: "" },
  ];
  const code = [{ address: start, bytes: Buffer.alloc(3) }];
  const around: Surroundings = {
    pid: "self",
    mappings,
    userfaultfd: false,
    gadgets: { syscall: start, restorer: start, code },
  };
  onStage(regs, REHEARSED_XSTATE, () => {
    const deadline = () => process.hrtime.bigint();
    const held = new HeldThreads(deadline);
    const [tracee] = held.stop([new Tracee(process.pid, false)]);
    const thread = new BorrowedThread(tracee!, around, deadline);
    work(thread, tracee!);
    thread.giveBack();
    held.release();
  });
}

/** The size of the extended state with AVX-512. */
const REHEARSED_XSTATE = 2696;
