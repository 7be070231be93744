import { ERRNO } from "../abi/errno.ts";
import { AUDIT_ARCH_X86_64, type FilteredCall, filtersAllow, SOCK_FILTER_SIZE } from "../abi/seccomp.ts";
import {
  ERESTART_RESTARTBLOCK,
  ERESTARTNOHAND,
  ifStoppedCallMadeAgain,
  NR_RESTART_SYSCALL,
} from "../abi/x86/restart.ts";
import {
  ARGUMENTS,
  readRegister,
  SYSCALL_INSTRUCTION_SIZE,
  USER_REGS_SIZE,
  writeRegister,
} from "../abi/x86/user-regs.ts";
import { bindLibc, I32, I64, NativeBuffer } from "../os/libc.ts";

/** Requests, options and events of <linux/ptrace.h>. */
const PTRACE_CONT = 7;
const PTRACE_GETREGS = 12;
const PTRACE_SETREGS = 13;
const PTRACE_DETACH = 17;
const PTRACE_SYSCALL = 24;
const PTRACE_SETOPTIONS = 0x4200;
const PTRACE_GETREGSET = 0x4204;
const PTRACE_SEIZE = 0x4206;
const PTRACE_INTERRUPT = 0x4207;
const PTRACE_GETSIGMASK = 0x420a;
const PTRACE_SETSIGMASK = 0x420b;
const PTRACE_SECCOMP_GET_FILTER = 0x420c;
const PTRACE_GET_SYSCALL_INFO = 0x420e;
const PTRACE_O_TRACESYSGOOD = 1;
const PTRACE_O_SUSPEND_SECCOMP = 1 << 21;
const PTRACE_EVENT_STOP = 128;
const NT_X86_XSTATE = 0x202;
const PTRACE_GET_RSEQ_CONFIGURATION = 0x420f;
const PTRACE_SYSCALL_INFO_ENTRY = 1;
/** Bytes of `struct ptrace_rseq_configuration`: the address of the thread's `struct rseq` first. */
const RSEQ_CONFIGURATION_SIZE = 24;
/** Bytes of `struct ptrace_syscall_info`: op u8, arch u32, ip u64, sp u64; then nr u64 and six arguments u64, or rval s64. */
const SYSCALL_INFO_SIZE = 88;
/** The most instructions of a filter, BPF_MAXINSNS. */
const MOST_INSTRUCTIONS = 4096;
/** Bytes of the kernel's `sigset_t`. */
const SIGSET_SIZE = 8;
const SIGSTOP = 19;
/** SIGTRAP with the mark that PTRACE_O_TRACESYSGOOD puts on stops at a system call's entry and exit. */
const SYSCALL_STOP = 5 | 0x80;

/** The low byte of a wait status that says "stopped". */
const STOPPED = 0x7f;
const WNOHANG = 1;
const WALL = 0x4000_0000;
/** Milliseconds between two looks at a thread that is to be let go and has not stopped. */
const LOOK_MS = 5;
/** How often a wait is still interrupted after its deadline before it is given up: 200 ms by the {@link Alarm}. */
const LOOKS_AFTER_DEADLINE = 10;
/** Room for the extended state of any CPU: AMX's tiles bring it to some 11 KiB. */
const XSTATE_ROOM = 16 * 1024;

const ptraceCall = bindLibc("ptrace", [I64, I64, I64, I64], I64);
const waitpidCall = bindLibc("waitpid", [I32, I64, I32]);
const copy = bindLibc("memmove", [I64, I64, I64], I64);

/** A ptrace(2) request that the kernel refused. */
export class PtraceError extends Error {
  readonly request: string;
  readonly tid: number;
  readonly errno: number;

  constructor(request: string, tid: number, errno: number) {
    super(`ptrace ${request} of thread ${tid} failed with errno ${errno}`);
    this.request = request;
    this.tid = tid;
    this.errno = errno;
  }
}

/** The thread ended, or was killed, while it was held. */
export class ThreadGoneError extends Error {}

/** A thread that was to make a system call for us entered the kernel with another, which was not let through. */
export class UnexpectedCallError extends Error {}

/** The thread did not stop in time. */
export class StopTimeoutError extends Error {}

/** What single calls fill, shared by all of them: each reads it before the next one starts. */
const STATUS = new NativeBuffer(4);
const IOVEC = new NativeBuffer(16);
const XSTATE = new NativeBuffer(XSTATE_ROOM);
const REGS_AT_ENTRY = new NativeBuffer(USER_REGS_SIZE);
const RSEQ_CONFIGURATION = new NativeBuffer(RSEQ_CONFIGURATION_SIZE);
const SYSCALL_INFO = new NativeBuffer(SYSCALL_INFO_SIZE);
const FILTER = new NativeBuffer(MOST_INSTRUCTIONS * SOCK_FILTER_SIZE);
const ALL_SIGNALS = new NativeBuffer(SIGSET_SIZE);
ALL_SIGNALS.bytes.fill(0xff);

/** The system calls that tracing is made of. {@link onStage} puts others in their place. */
let calls = { ptrace: ptraceCall, waitpid: waitpidCall };

/**
 * Runs something in which one thread is stopped and made to run system calls, with no thread there: as for real, but
 * that the kernel's part is played. What a process does first is slow; this is how it can have been done before.
 *
 * @param regs the registers that the thread is said to have; changed as they are set.
 * @param xstateSize bytes of its extended state.
 */
export function onStage(regs: NativeBuffer, xstateSize: number, run: () => void): void {
  const self = process.pid;
  let stops = 0;
  calls = {
    ptrace: (request, _tid, _address, data) => {
      // For the sake of the call itself: nobody traces itself (ESRCH).
      ptraceCall(PTRACE_GETREGS, self, 0, REGS_AT_ENTRY.address);
      if (request === PTRACE_GETREGS) copy(data!, regs.address, USER_REGS_SIZE);
      if (request === PTRACE_SETREGS) copy(regs.address, data!, USER_REGS_SIZE);
      if (request === PTRACE_GETREGSET) IOVEC.view.setBigUint64(8, BigInt(xstateSize), true);
      if (request === PTRACE_GET_SYSCALL_INFO) playSyscall(regs.view, stops % 2 === 0);
      return { value: 0, errno: 0 };
    },
    waitpid: (tid) => {
      waitpidCall(self, STATUS.address, WNOHANG | WALL);
      const event = stops++ === 0 ? PTRACE_EVENT_STOP << 16 : SYSCALL_STOP << 8;
      STATUS.view.setInt32(0, event | STOPPED, true);
      return { value: tid!, errno: 0 };
    },
  };
  try {
    run();
  } finally {
    calls = { ptrace: ptraceCall, waitpid: waitpidCall };
  }
}

/** Fills in what PTRACE_GET_SYSCALL_INFO says at the entry of the call that registers are set up for, and after it. */
function playSyscall(regs: DataView, entry: boolean): void {
  const { view } = SYSCALL_INFO;
  view.setUint8(0, entry ? PTRACE_SYSCALL_INFO_ENTRY : 0);
  view.setUint32(4, AUDIT_ARCH_X86_64, true);
  view.setBigUint64(8, readRegister(regs, "rip") + SYSCALL_INSTRUCTION_SIZE, true);
  view.setBigUint64(24, entry ? readRegister(regs, "rax") : 0n, true);
  ARGUMENTS.forEach((name, place) => {
    view.setBigUint64(32 + place * 8, readRegister(regs, name), true);
  });
}

/**
 * One thread of another process under ptrace(2), made with PTRACE_SEIZE, so that neither attaching nor
 * letting go sends it a signal.
 *
 * All calls are synchronous: the kernel takes ptrace requests only from the thread that attached, and
 * nothing of this process may come between a stop and its end. What a call needs is made in the
 * constructor, before the thread stops.
 */
export class Tracee {
  readonly tid: number;
  readonly #filtered: boolean;
  /** The registers as they were at the stop, fit to go on with. */
  readonly regs = new NativeBuffer(USER_REGS_SIZE);
  /** The signal mask as it was at the stop. */
  readonly #mask = new NativeBuffer(SIGSET_SIZE);
  #stopped = false;
  #stoppedAt = 0n;
  #attached = false;
  #gone = false;
  #maskChanged = false;

  /** @param filtered whether the thread has a seccomp filter. */
  constructor(tid: number, filtered: boolean) {
    this.tid = tid;
    this.#filtered = filtered;
  }

  /**
   * PTRACE_SEIZE: the thread runs on.
   *
   * @throws PtraceError EPERM when it may not be traced, or is already; ESRCH when it is gone.
   */
  seize(): void {
    this.#request("PTRACE_SEIZE", PTRACE_SEIZE, 0, PTRACE_O_TRACESYSGOOD);
    this.#attached = true;
  }

  /**
   * Lifts the stopped thread's seccomp filter, if it has one, until it is let go; takes CAP_SYS_ADMIN. Only now:
   * given with PTRACE_SEIZE the option would act at once, on what the thread itself does until it has stopped.
   *
   * @throws PtraceError EPERM, also when this process has a filter of its own.
   */
  suspendSeccomp(): void {
    if (!this.#filtered) return;
    const options = PTRACE_O_TRACESYSGOOD | PTRACE_O_SUSPEND_SECCOMP;
    this.#request("PTRACE_O_SUSPEND_SECCOMP", PTRACE_SETOPTIONS, 0, options);
  }

  /** PTRACE_INTERRUPT: asks the thread to stop, without waiting for it. */
  interrupt(): void {
    this.#stoppedAt = process.hrtime.bigint();
    this.#request("PTRACE_INTERRUPT", PTRACE_INTERRUPT, 0, 0);
  }

  /**
   * Waits for the stop that {@link interrupt} asked for and reads the registers. A signal that comes
   * first is delivered, as it would have been.
   *
   * @param deadline `process.hrtime.bigint()` at which to give up.
   * @throws ThreadGoneError, StopTimeoutError.
   */
  waitForInterrupt(deadline: bigint): void {
    for (;;) {
      const status = this.#wait(deadline);
      if (status >>> 16 === PTRACE_EVENT_STOP) break;
      this.#resume("PTRACE_CONT", PTRACE_CONT, (status >>> 8) & 0x7f);
    }
    this.#request("PTRACE_GETREGS", PTRACE_GETREGS, 0, this.regs.address);
    if (this.#filtered) this.#avoidRestartSyscall();
  }

  /**
   * A thread that was interrupted in poll(2), nanosleep(2) or a timed futex(2) goes on with restart_syscall(2),
   * for which a filter may kill it. It is made to make its call again instead, before anything else is done: not
   * even the end of this process may then harm it. Where that would make it wait for longer, its filter is asked.
   */
  #avoidRestartSyscall(): void {
    const { view } = this.regs;
    if (BigInt.asIntN(64, readRegister(view, "rax")) !== ERESTART_RESTARTBLOCK) return;
    // It is in restart_syscall already: its filter allows that.
    if (readRegister(view, "orig_rax") === BigInt(NR_RESTART_SYSCALL)) return;
    writeRegister(view, "rax", ERESTARTNOHAND);
    this.setRegs(this.regs);
    if (ifStoppedCallMadeAgain(view) === "exact") return;
    const instructionPointer = readRegister(view, "rip");
    const args = ARGUMENTS.map((name) => readRegister(view, name));
    if (!this.#mayCall({ number: NR_RESTART_SYSCALL, instructionPointer, args })) return;
    writeRegister(view, "rax", ERESTART_RESTARTBLOCK);
    this.setRegs(this.regs);
  }

  /** Whether the thread's filters allow a call; not, where they can't be read. */
  #mayCall(call: FilteredCall): boolean {
    const filters: Uint8Array[] = [];
    for (;;) {
      const at = filters.length;
      const { value, errno } = calls.ptrace(PTRACE_SECCOMP_GET_FILTER, this.tid, at, FILTER.address);
      if (value > 0) filters.push(FILTER.bytes.slice(0, value * SOCK_FILTER_SIZE));
      else return errno === ERRNO.ENOENT && filtersAllow(filters, call);
    }
  }

  /** PTRACE_GETSIGMASK: the 8 bytes of the thread's signal mask, kept for {@link restore}. */
  signalMask(): Uint8Array {
    this.#request("PTRACE_GETSIGMASK", PTRACE_GETSIGMASK, SIGSET_SIZE, this.#mask.address);
    return this.#mask.bytes;
  }

  /**
   * PTRACE_GETREGSET of NT_X86_XSTATE: the thread's floating-point and vector state. Overwritten by the
   * next call.
   */
  extendedState(): Uint8Array {
    IOVEC.view.setBigUint64(0, BigInt(XSTATE.address), true);
    IOVEC.view.setBigUint64(8, BigInt(XSTATE_ROOM), true);
    this.#request("PTRACE_GETREGSET", PTRACE_GETREGSET, NT_X86_XSTATE, IOVEC.address);
    return XSTATE.bytes.subarray(0, Number(IOVEC.view.getBigUint64(8, true)));
  }

  /**
   * PTRACE_GET_RSEQ_CONFIGURATION: the address of the thread's `struct rseq`; 0 where it has none, and on kernels
   * before 5.13, which do not tell.
   */
  rseqAddress(): bigint {
    const request = PTRACE_GET_RSEQ_CONFIGURATION;
    const { value } = calls.ptrace(request, this.tid, RSEQ_CONFIGURATION_SIZE, RSEQ_CONFIGURATION.address);
    return value > 0 ? RSEQ_CONFIGURATION.view.getBigUint64(0, true) : 0n;
  }

  /** PTRACE_SETREGS. */
  setRegs(regs: NativeBuffer): void {
    this.#request("PTRACE_SETREGS", PTRACE_SETREGS, 0, regs.address);
  }

  /**
   * Blocks all signals, so that none comes between two system calls. {@link restore} puts the mask back that
   * {@link signalMask} read.
   */
  blockSignals(): void {
    if (this.#maskChanged) return;
    this.#maskChanged = true;
    this.#request("PTRACE_SETSIGMASK", PTRACE_SETSIGMASK, SIGSET_SIZE, ALL_SIGNALS.address);
  }

  /**
   * Lets the thread make the system call that its registers are set up for, rip on a `syscall` instruction. It is
   * stopped again behind it. The code there is the process's own and may have changed: what enters the kernel
   * is compared with what was asked for, and not let through when it is something else.
   *
   * @param regs what {@link setRegs} has set.
   * @returns what the call returned, an errno negated.
   * @throws ThreadGoneError, StopTimeoutError, UnexpectedCallError; Error when it did something else, such as fault.
   */
  runSyscall(regs: NativeBuffer, deadline: bigint): bigint {
    this.#toSyscallStop(deadline);
    this.#readSyscallInfo();
    if (!isEntryOf(regs.view, SYSCALL_INFO.view)) {
      this.#skipSyscall(deadline);
      throw new UnexpectedCallError(`thread ${this.tid} did not make the system call that it was to make`);
    }
    this.#toSyscallStop(deadline);
    this.#readSyscallInfo();
    return SYSCALL_INFO.view.getBigInt64(24, true);
  }

  #readSyscallInfo(): void {
    this.#request(
      "PTRACE_GET_SYSCALL_INFO",
      PTRACE_GET_SYSCALL_INFO,
      SYSCALL_INFO_SIZE,
      SYSCALL_INFO.address,
    );
  }

  /** Keeps a thread that has entered a system call from making it, and takes it to the end of it. */
  #skipSyscall(deadline: bigint): void {
    this.#request("PTRACE_GETREGS", PTRACE_GETREGS, 0, REGS_AT_ENTRY.address);
    writeRegister(REGS_AT_ENTRY.view, "orig_rax", -1n);
    this.setRegs(REGS_AT_ENTRY);
    this.#toSyscallStop(deadline);
  }

  /** Puts registers and signal mask back as they were at the stop. */
  restore(): void {
    if (!this.#stopped) return;
    // The registers last: until they are back, what they hold puts everything right should this process die.
    if (this.#maskChanged) {
      this.#request("PTRACE_SETSIGMASK", PTRACE_SETSIGMASK, SIGSET_SIZE, this.#mask.address);
      this.#maskChanged = false;
    }
    this.setRegs(this.regs);
  }

  /** Whether it is stopped, and so can be looked at and changed. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /**
   * Lets the thread go. The kernel only lets go of a stopped thread: one that would not stop in time, or not
   * come back from a call, is let go as soon as it has stopped, or when this process ends.
   *
   * @returns how long it was held, in nanoseconds, from asking it to stop until it was let go.
   */
  detach(): number {
    if (!this.#attached) return 0;
    if (!this.#stopped && !this.#gone) {
      if (this.#stoppedAt === 0n) this.#askToStop();
      this.#detachLater();
    } else {
      try {
        this.#request("PTRACE_DETACH", PTRACE_DETACH, 0, 0);
        this.#attached = false;
      } catch (error) {
        if (!(error instanceof ThreadGoneError)) throw error;
        // It stays a zombie, and its end unseen by its own parent, until its tracer has taken note.
        this.#detachLater();
      }
    }
    this.#stopped = false;
    return this.#stoppedAt === 0n ? 0 : Number(process.hrtime.bigint() - this.#stoppedAt);
  }

  /** Of a thread that was seized and never asked: without a stop there is no letting go. */
  #askToStop(): void {
    try {
      this.interrupt();
    } catch (error) {
      // One that is gone needs no stop.
      if (!(error instanceof ThreadGoneError)) throw error;
    }
  }

  /** Looks at the thread every now and then until it has stopped or ended. Keeps no process alive. */
  #detachLater(): void {
    const look = () => {
      // A stop may have been waited for by somebody else, as by Node when the process is its child.
      const detached = calls.ptrace(PTRACE_DETACH, this.tid, 0, 0).value === 0;
      if (!detached && calls.waitpid(this.tid, STATUS.address, WNOHANG | WALL).value === 0) return;
      if (!detached && (STATUS.view.getInt32(0, true) & 0xff) === STOPPED) return;
      clearInterval(timer);
      this.#attached = false;
    };
    const timer = setInterval(look, LOOK_MS).unref();
    look();
  }

  #toSyscallStop(deadline: bigint): void {
    let signal = 0;
    for (;;) {
      this.#resume("PTRACE_SYSCALL", PTRACE_SYSCALL, signal);
      const status = this.#wait(deadline);
      signal = 0;
      if (status >>> 8 === SYSCALL_STOP) return;
      if (status >>> 16 === PTRACE_EVENT_STOP) continue;
      signal = (status >>> 8) & 0x7f;
      // All that can be blocked is blocked. What is left is SIGSTOP, which is the thread's own affair and
      // goes on, and faults, which are this program's doing.
      if (signal !== SIGSTOP)
        throw new Error(`thread ${this.tid} met signal ${signal} in a borrowed system call`);
    }
  }

  #resume(name: string, request: number, signal: number): void {
    this.#stopped = false;
    this.#request(name, request, 0, signal);
  }

  /** Waits for the next stop. An {@link Alarm} must be on: it is what ends a wait that lasts. */
  #wait(deadline: bigint): number {
    // Where this process itself stood still, the deadline passes before the thread had its time: so it is not the
    // clock alone that ends the wait, but some more looks after it.
    for (let looks = 0; ; ) {
      const { value, errno } = calls.waitpid(this.tid, STATUS.address, WALL);
      if (value === this.tid) break;
      if (errno !== ERRNO.EINTR) throw new PtraceError("waitpid", this.tid, errno);
      if (process.hrtime.bigint() > deadline && ++looks > LOOKS_AFTER_DEADLINE) {
        throw new StopTimeoutError(`thread ${this.tid} did not stop in time`);
      }
    }
    const status = STATUS.view.getInt32(0, true);
    if ((status & 0xff) !== STOPPED) {
      this.#attached = false;
      throw new ThreadGoneError(`thread ${this.tid} ended`);
    }
    this.#stopped = true;
    return status;
  }

  #request(name: string, request: number, address: number, data: number): void {
    const { value, errno } = calls.ptrace(request, this.tid, address, data);
    if (value !== -1) return;
    if (errno === ERRNO.ESRCH && this.#attached) {
      this.#stopped = false;
      this.#gone = true;
      throw new ThreadGoneError(`thread ${this.tid} ended`);
    }
    throw new PtraceError(name, this.tid, errno);
  }
}

/** Whether a stop is at the entry of the system call that registers were set up for: number, arguments, place. */
function isEntryOf(regs: DataView, info: DataView): boolean {
  return (
    info.getUint8(0) === PTRACE_SYSCALL_INFO_ENTRY &&
    info.getUint32(4, true) === AUDIT_ARCH_X86_64 &&
    info.getBigUint64(8, true) === readRegister(regs, "rip") + SYSCALL_INSTRUCTION_SIZE &&
    info.getBigUint64(24, true) === readRegister(regs, "rax") &&
    ARGUMENTS.every((name, place) => info.getBigUint64(32 + place * 8, true) === readRegister(regs, name))
  );
}
