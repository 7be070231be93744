import { ERRNO } from "../../abi/errno.ts";
import { HOST_THREADS } from "../../arch/arches.ts";
import { NativeBuffer } from "../../os/libc.ts";
import {
  hasEntered,
  IOVEC,
  PTRACE_EVENT_STOP,
  PtraceError,
  ptrace,
  REGS,
  type RequestName,
  STATUS,
  STOPPED,
  StopTimeoutError,
  SYSCALL_INFO,
  SYSCALL_INFO_SIZE,
  SYSCALL_STOP,
  ThreadGoneError,
  UnexpectedCallError,
  WALL,
  WNOHANG,
  waitpid,
} from "./ptrace.ts";
import { type FilteredCall, filtersAllow, SOCK_FILTER_SIZE } from "./seccomp.ts";

const {
  ARGUMENTS,
  ERESTARTNOHAND,
  ERESTART_RESTARTBLOCK,
  NR_RESTART_SYSCALL,
  USER_REGS_SIZE,
  ifStoppedCallMadeAgain,
  readRegister,
  writeRegister,
} = HOST_THREADS;

const PTRACE_O_TRACESYSGOOD = 1;
const PTRACE_O_SUSPEND_SECCOMP = 1 << 21;
const NT_X86_XSTATE = 0x202;
/** Bytes of `struct ptrace_rseq_configuration`: the address of the thread's `struct rseq` first. */
const RSEQ_CONFIGURATION_SIZE = 24;
/** The most instructions of a filter, BPF_MAXINSNS. */
const MOST_INSTRUCTIONS = 4096;
/** Bytes of the kernel's `sigset_t` and `siginfo_t`; `si_code` is the third number of that. */
const SIGSET_SIZE = 8;
const SIGINFO_SIZE = 128;
const SIGSTOP = 19;
/** SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV and SIGSYS: those that what a thread does may bring about. */
const FAULTS: ReadonlySet<number> = new Set([4, 5, 7, 8, 11, 31]);
/** `si_code` of a SIGBUS for memory that has failed and that the thread has not touched. */
const BUS_MCEERR_AO = 5;

/** Milliseconds between two looks at a thread that is to be let go and has not stopped. */
const LOOK_MS = 5;
/** How often a wait is still interrupted after its deadline before it is given up: 200 ms by the {@link Alarm}. */
const LOOKS_AFTER_DEADLINE = 10;
/** Room for the extended state of any CPU: AMX's tiles bring it to some 11 KiB. */
const XSTATE_ROOM = 16 * 1024;

/** What single calls fill, shared by all threads: each is read before the next call. */
const XSTATE = new NativeBuffer(XSTATE_ROOM);
const RSEQ_CONFIGURATION = new NativeBuffer(RSEQ_CONFIGURATION_SIZE);
const FILTER = new NativeBuffer(MOST_INSTRUCTIONS * SOCK_FILTER_SIZE);
const SIGNALS = new NativeBuffer(SIGSET_SIZE);
const SIGINFO = new NativeBuffer(SIGINFO_SIZE);

/**
 * One thread of another process under ptrace(2), made with PTRACE_SEIZE, so that neither attaching nor
 * letting go sends it a signal.
 *
 * All calls are synchronous: the kernel takes ptrace requests only from the thread that attached, and
 * nothing of this process may come between a stop and its end. What the calls fill is there before the thread stops.
 */
export class Tracee {
  readonly tid: number;
  readonly #filtered: boolean;
  /** The registers as they were at the stop, fit to go on with. */
  readonly regs = new NativeBuffer(USER_REGS_SIZE);
  /** The signal mask as it was at the stop. */
  readonly #mask = new Uint8Array(SIGSET_SIZE);
  #stopped = false;
  #stoppedAt = 0n;
  #attached = false;
  #gone = false;
  #signalsBlocked = false;
  /** A signal that the thread stopped at the delivery of, and is yet to get. */
  #inHand = 0;
  /** The registers that were set last, unless the thread has run since. */
  #inPlace: NativeBuffer | undefined;

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
    this.#request("PTRACE_SEIZE", 0, PTRACE_O_TRACESYSGOOD);
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
    this.#request("PTRACE_SETOPTIONS", 0, options);
  }

  /** PTRACE_INTERRUPT: asks the thread to stop, without waiting for it. */
  interrupt(): void {
    this.#stoppedAt = process.hrtime.bigint();
    this.#request("PTRACE_INTERRUPT", 0, 0);
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
      this.#resume("PTRACE_CONT", (status >>> 8) & 0x7f);
    }
    this.#request("PTRACE_GETREGS", 0, REGS.address);
    this.regs.bytes.set(REGS.bytes);
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
      const { value, errno } = ptrace("PTRACE_SECCOMP_GET_FILTER", this.tid, at, FILTER.address);
      if (value > 0) filters.push(FILTER.bytes.slice(0, value * SOCK_FILTER_SIZE));
      else return errno === ERRNO.ENOENT && filtersAllow(filters, call);
    }
  }

  /** PTRACE_GETSIGMASK: the 8 bytes of the thread's signal mask, kept for {@link restore}. */
  signalMask(): Uint8Array {
    this.#request("PTRACE_GETSIGMASK", SIGSET_SIZE, SIGNALS.address);
    this.#mask.set(SIGNALS.bytes);
    return this.#mask;
  }

  /**
   * PTRACE_GETREGSET of NT_X86_XSTATE: the thread's floating-point and vector state. Overwritten by the
   * next call.
   */
  extendedState(): Uint8Array {
    IOVEC.view.setBigUint64(0, BigInt(XSTATE.address), true);
    IOVEC.view.setBigUint64(8, BigInt(XSTATE_ROOM), true);
    this.#request("PTRACE_GETREGSET", NT_X86_XSTATE, IOVEC.address);
    return XSTATE.bytes.subarray(0, Number(IOVEC.view.getBigUint64(8, true)));
  }

  /**
   * PTRACE_GET_RSEQ_CONFIGURATION: the address of the thread's `struct rseq`; 0 where it has none, and on kernels
   * before 5.13, which do not tell.
   */
  rseqAddress(): bigint {
    const name = "PTRACE_GET_RSEQ_CONFIGURATION";
    const { value } = ptrace(name, this.tid, RSEQ_CONFIGURATION_SIZE, RSEQ_CONFIGURATION.address);
    return value > 0 ? RSEQ_CONFIGURATION.view.getBigUint64(0, true) : 0n;
  }

  /** PTRACE_SETREGS. */
  setRegs(regs: NativeBuffer): void {
    REGS.bytes.set(regs.bytes);
    this.#request("PTRACE_SETREGS", 0, REGS.address);
    this.#inPlace = regs;
  }

  /** Whether {@link blockSignals} is in force. */
  get signalsBlocked(): boolean {
    return this.#signalsBlocked;
  }

  /** Blocks all signals. {@link restore} puts the mask back that {@link signalMask} read. */
  blockSignals(): void {
    if (this.#signalsBlocked) return;
    this.#signalsBlocked = true;
    SIGNALS.bytes.fill(0xff);
    this.#request("PTRACE_SETSIGMASK", SIGSET_SIZE, SIGNALS.address);
  }

  /**
   * Lets the thread make a system call. It is stopped again behind it. The code that it enters the kernel by is the
   * process's own and may have changed: what enters is compared with what was asked for, and not let through when
   * it is something else.
   *
   * @param entry the registers that it enters with, rip on a `syscall` instruction.
   * @param call the registers that it makes the call with, put in their place when it has entered.
   * @param rest the registers that it is left with behind it, unless its signals are blocked.
   * @returns what the call returned, an errno negated; `undefined` when a signal came before the call. The thread
   *   gets it as soon as it goes on: with its signals blocked it
   *   stays pending.
   * @throws ThreadGoneError, StopTimeoutError, UnexpectedCallError; Error when it did something else, such as fault.
   */
  runSyscall(
    { entry, call, rest }: { entry: NativeBuffer; call: NativeBuffer; rest: NativeBuffer },
    deadline: bigint,
  ): bigint | undefined {
    if (this.#inPlace !== entry) this.setRegs(entry);
    if (!this.#toSyscallStop(deadline)) return undefined;
    this.#readSyscallInfo();
    if (!hasEntered(entry.view)) {
      this.#skipSyscall(deadline);
      throw new UnexpectedCallError(`thread ${this.tid} did not make the system call that it was to make`);
    }
    if (call !== entry) this.setRegs(call);
    this.#toSyscallStop(deadline);
    this.#readSyscallInfo();
    // At once: should this process be killed from now on, nothing of it is left in the thread.
    if (!this.#signalsBlocked) this.setRegs(rest);
    return SYSCALL_INFO.view.getBigInt64(24, true);
  }

  #readSyscallInfo(): void {
    this.#request("PTRACE_GET_SYSCALL_INFO", SYSCALL_INFO_SIZE, SYSCALL_INFO.address);
  }

  /** Keeps a thread that has entered a system call from making it, and takes it to the end of it. */
  #skipSyscall(deadline: bigint): void {
    this.#request("PTRACE_GETREGS", 0, REGS.address);
    writeRegister(REGS.view, "orig_rax", -1n);
    this.#request("PTRACE_SETREGS", 0, REGS.address);
    this.#toSyscallStop(deadline);
  }

  /** Puts registers and signal mask back as they were at the stop. */
  restore(): void {
    if (!this.#stopped) return;
    // The registers last: until they are back, what they hold puts everything right should this process die.
    if (this.#signalsBlocked) {
      SIGNALS.bytes.set(this.#mask);
      this.#request("PTRACE_SETSIGMASK", SIGSET_SIZE, SIGNALS.address);
      this.#signalsBlocked = false;
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
        this.#request("PTRACE_DETACH", 0, this.#inHand);
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
      const detached = ptrace("PTRACE_DETACH", this.tid, 0, 0).value === 0;
      if (!detached && waitpid(this.tid, WNOHANG | WALL).value === 0) return;
      if (!detached && (STATUS.view.getInt32(0, true) & 0xff) === STOPPED) return;
      clearInterval(timer);
      this.#attached = false;
    };
    const timer = setInterval(look, LOOK_MS).unref();
    look();
  }

  /** @returns false when it stopped at the delivery of a signal instead. */
  #toSyscallStop(deadline: bigint): boolean {
    for (;;) {
      const signal = this.#inHand;
      this.#inHand = 0;
      this.#resume("PTRACE_SYSCALL", signal);
      const status = this.#wait(deadline);
      if (status >>> 8 === SYSCALL_STOP) return true;
      if (status >>> 16 === PTRACE_EVENT_STOP) continue;
      const next = (status >>> 8) & 0x7f;
      if (FAULTS.has(next) && this.#isFault()) {
        throw new Error(`thread ${this.tid} met signal ${next} in a borrowed system call`);
      }
      this.#inHand = next;
      // It can't be blocked, is the thread's own affair, and goes on.
      if (next !== SIGSTOP && !this.#signalsBlocked) return false;
    }
  }

  /** Whether the signal that the thread stopped at is of its own doing, and so of this program's. */
  #isFault(): boolean {
    this.#request("PTRACE_GETSIGINFO", 0, SIGINFO.address);
    const code = SIGINFO.view.getInt32(8, true);
    return code > 0 && code !== BUS_MCEERR_AO;
  }

  #resume(name: RequestName, signal: number): void {
    this.#stopped = false;
    this.#inPlace = undefined;
    this.#request(name, 0, signal);
  }

  /** Waits for the next stop. An {@link Alarm} must be on: it is what ends a wait that lasts. */
  #wait(deadline: bigint): number {
    // Where this process itself stood still, the deadline passes before the thread had its time: so it is not the
    // clock alone that ends the wait, but some more looks after it.
    for (let looks = 0; ; ) {
      const { value, errno } = waitpid(this.tid, WALL);
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

  #request(name: RequestName, address: number, data: number): void {
    const { value, errno } = ptrace(name, this.tid, address, data);
    if (value !== -1) return;
    if (errno === ERRNO.ESRCH && this.#attached) {
      this.#stopped = false;
      this.#gone = true;
      throw new ThreadGoneError(`thread ${this.tid} ended`);
    }
    throw new PtraceError(name, this.tid, errno);
  }
}
