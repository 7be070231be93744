import { ERRNO } from "../../abi/errno.ts";
import { HOST_THREADS } from "../../arch/arches.ts";
import { NativeBuffer } from "../../os/libc.ts";
import {
  type BorrowedCall,
  CALL_STEPS,
  hasGoneOn,
  isEntryCheck,
  resultOf,
  setSignal,
  setUpCall,
} from "./borrowed-call.ts";
import {
  addRequest,
  addWait,
  BusyProcessError,
  detachLater,
  IOVEC,
  isFault,
  nameOf,
  PTRACE_EVENT_STOP,
  PtraceError,
  ptrace,
  REGS,
  type RequestName,
  readFilters,
  runSteps,
  STATUS,
  STEPS,
  STOPPED,
  StopTimeoutError,
  ThreadGoneError,
  UnexpectedCallError,
} from "./ptrace.ts";
import { filtersAllow } from "./seccomp.ts";
import type { Steps } from "./steps.ts";

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
/** Bytes of the kernel's `sigset_t`. */
const SIGSET_SIZE = 8;
const SIGSTOP = 19;
/** How often a wait is still interrupted after its deadline before it is given up: 200 ms by the {@link Alarm}. */
const LOOKS_AFTER_DEADLINE = 10;
/** Room for the extended state of any CPU: AMX's tiles bring it to some 11 KiB. */
const XSTATE_ROOM = 16 * 1024;

/** What single calls take and fill, shared by all threads: each is read before the next call. */
const XSTATE = new NativeBuffer(XSTATE_ROOM);
/** `struct ptrace_rseq_configuration`: the address of the thread's `struct rseq` first. */
const RSEQ_CONFIGURATION = new NativeBuffer(24);
const SIGNALS = new NativeBuffer(SIGSET_SIZE);

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
  readonly #leader: number;
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

  /**
   * @param filtered whether the thread has a seccomp filter.
   * @param leader the main thread of its process, whose number it gets when it runs another program (ptrace(2)).
   */
  constructor(tid: number, filtered: boolean, leader = tid) {
    this.tid = tid;
    this.#filtered = filtered;
    this.#leader = leader;
  }

  /**
   * PTRACE_SEIZE: the thread runs on. An {@link Alarm} must be on: where the process is in execve(2), the kernel lets
   * this wait for the end of that, which may itself wait for a thread that is held (fs/exec.c, de_thread).
   *
   * @throws PtraceError EPERM when it may not be traced, or is already; ESRCH when it is gone. BusyProcessError.
   */
  seize(): void {
    addRequest(STEPS.clear(), "PTRACE_SEIZE", this.tid, 0, PTRACE_O_TRACESYSGOOD);
    const errno = runSteps(STEPS) < STEPS.size ? STEPS.errno(0) : 0;
    if (errno === ERRNO.EINTR) throw new BusyProcessError(`the process of thread ${this.tid} is in execve`);
    if (errno !== 0) this.#refused("PTRACE_SEIZE", errno);
    this.#attached = true;
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
    addWait(STEPS.clear(), this.tid, "interrupt");
    addRequest(STEPS, "PTRACE_GETREGS", this.tid, 0, REGS.address);
    for (let at = this.#run(STEPS, 0, deadline); at < STEPS.size; ) {
      const status = STATUS.view.getInt32(0, true);
      // Of a thread that is stopped by SIGSTOP anyway it bears another signal than SIGTRAP.
      const isIt = status >>> 16 === PTRACE_EVENT_STOP;
      if (!isIt) this.#request("PTRACE_CONT", 0, (status >>> 8) & 0x7f);
      at = this.#run(STEPS, isIt ? 1 : 0, deadline);
    }
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
    const filters = readFilters(this.tid);
    const call = { number: NR_RESTART_SYSCALL, instructionPointer, args };
    if (filters === undefined || !filtersAllow(filters, call)) return;
    writeRegister(view, "rax", ERESTART_RESTARTBLOCK);
    this.setRegs(this.regs);
  }

  /**
   * Adds to {@link STEPS} what is done before the stopped thread is borrowed: its seccomp filter, if it has one, is
   * lifted until it is let go, which takes CAP_SYS_ADMIN; its signal mask and its vector state are read. The filter only
   * now: given with PTRACE_SEIZE the option would act at once, on what the thread itself does until it has stopped.
   */
  addBorrowing(): void {
    const { tid } = this;
    const options = PTRACE_O_TRACESYSGOOD | PTRACE_O_SUSPEND_SECCOMP;
    if (this.#filtered) addRequest(STEPS, "PTRACE_SETOPTIONS", tid, 0, options);
    addRequest(STEPS, "PTRACE_GETSIGMASK", tid, SIGSET_SIZE, SIGNALS.address);
    IOVEC.view.setBigUint64(0, BigInt(XSTATE.address), true);
    IOVEC.view.setBigUint64(8, BigInt(XSTATE_ROOM), true);
    addRequest(STEPS, "PTRACE_GETREGSET", tid, NT_X86_XSTATE, IOVEC.address);
  }

  /** What those steps have read: its `sigset_t`, kept for {@link addRestoring}, and its extended state. */
  borrowed(): { signalMask: Uint8Array; xstate: Uint8Array } {
    this.#mask.set(SIGNALS.bytes);
    return {
      signalMask: this.#mask,
      // A copy: another thread may be borrowed to map memory for this one.
      xstate: new Uint8Array(XSTATE.bytes.subarray(0, Number(IOVEC.view.getBigUint64(8, true)))),
    };
  }

  /**
   * PTRACE_GET_RSEQ_CONFIGURATION: the address of the thread's `struct rseq`; 0 where it has none, and on kernels
   * before 5.13, which do not tell.
   */
  rseqAddress(): bigint {
    const { bytes, address, view } = RSEQ_CONFIGURATION;
    const { value } = ptrace("PTRACE_GET_RSEQ_CONFIGURATION", this.tid, bytes.length, address);
    return value > 0 ? view.getBigUint64(0, true) : 0n;
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

  /** Blocks all signals. {@link addRestoring} puts the mask back. */
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
   * @returns what the call returned, an errno negated; `undefined` when a signal came before the call. The thread
   *   gets it as soon as it goes on: with its signals blocked it stays pending.
   * @throws ThreadGoneError, StopTimeoutError, UnexpectedCallError; Error when it did something else, such as fault.
   */
  runSyscall(call: BorrowedCall, deadline: bigint): bigint | undefined {
    const isLeft = this.#signalsBlocked;
    const isInPlace = this.#inPlace === call.entry;
    let at = setUpCall(this.tid, call, { isInPlace, isLeft, signal: this.#inHand });
    this.#inPlace = undefined;
    try {
      at = this.#run(CALL_STEPS, at, deadline);
    } finally {
      if (hasGoneOn()) this.#inHand = 0;
    }
    while (at < CALL_STEPS.size) {
      if (isEntryCheck(at)) {
        this.#skipSyscall(deadline);
        throw new UnexpectedCallError(`thread ${this.tid} did not make the system call that it was to make`);
      }
      if (!CALL_STEPS.isWait(at)) throw new Error(`could not reach the memory of thread ${this.tid}`);
      const signal = this.#signalAtStop();
      // SIGSTOP can't be blocked, is the thread's own affair, and goes on.
      if (signal !== 0 && signal !== SIGSTOP && !this.#signalsBlocked) {
        this.#inHand = signal;
        return undefined;
      }
      setSignal(at - 1, signal);
      at = this.#run(CALL_STEPS, at - 1, deadline);
    }
    if (!isLeft) this.#inPlace = call.rest;
    return resultOf(call);
  }

  /** The signal that the thread stopped at the delivery of, instead of at a system call; 0 for a stop of another kind. */
  #signalAtStop(): number {
    const status = STATUS.view.getInt32(0, true);
    if (status >>> 16 === PTRACE_EVENT_STOP) return 0;
    const signal = (status >>> 8) & 0x7f;
    if (isFault(this.tid, signal)) {
      throw new Error(`thread ${this.tid} met signal ${signal} in a borrowed system call`);
    }
    return signal;
  }

  /** Keeps a thread that has entered a system call from making it, and takes it to the end of it. */
  #skipSyscall(deadline: bigint): void {
    const { tid } = this;
    this.#request("PTRACE_GETREGS", 0, REGS.address);
    writeRegister(REGS.view, "orig_rax", -1n);
    addRequest(STEPS.clear(), "PTRACE_SETREGS", tid, 0, REGS.address);
    addRequest(STEPS, "PTRACE_SYSCALL", tid, 0, 0);
    addWait(STEPS, tid, "syscall");
    this.#run(STEPS, 0, deadline);
  }

  /**
   * Adds to {@link STEPS} that registers and signal mask are put back as they were at the stop. The registers last:
   * until they are back, what they hold puts everything right should this process die.
   */
  addRestoring(): void {
    const { tid } = this;
    if (this.#signalsBlocked) {
      SIGNALS.bytes.set(this.#mask);
      addRequest(STEPS, "PTRACE_SETSIGMASK", tid, SIGSET_SIZE, SIGNALS.address);
      this.#signalsBlocked = false;
    }
    REGS.bytes.set(this.regs.bytes);
    addRequest(STEPS, "PTRACE_SETREGS", tid, 0, REGS.address);
  }

  /**
   * Runs what is in {@link STEPS}, none of which waits.
   *
   * @returns the place of the first that did not come out as expected, or their number.
   * @throws ThreadGoneError; PtraceError for what the kernel refused, EPERM for the filter also when this process has
   *   one of its own.
   */
  run(): number {
    return this.#run(STEPS, 0, 0n);
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
      detachLater(this.tid, this.#leader);
    } else {
      try {
        this.#request("PTRACE_DETACH", 0, this.#inHand);
      } catch (error) {
        if (!(error instanceof ThreadGoneError)) throw error;
        // It stays a zombie, and its end unseen by its own parent, until its tracer has taken note.
        detachLater(this.tid, this.#leader);
      }
    }
    this.#attached = false;
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

  /**
   * Runs steps, from one of them on. An {@link Alarm} must be on: it is what ends a wait that lasts.
   *
   * @returns the place of the first that saw something else than was expected, another stop or other bytes, or their
   *   number.
   * @throws ThreadGoneError, StopTimeoutError; PtraceError for what the kernel refused.
   */
  #run(steps: Steps, from: number, deadline: bigint): number {
    // Where this process itself stood still, the deadline passes before the thread had its time: so it is not the
    // clock alone that ends the wait, but some more looks after it.
    for (let at = runSteps(steps, from), looks = 0; ; at = runSteps(steps, at)) {
      const errno = at === steps.size ? 0 : steps.errno(at);
      this.#stopped = errno === 0 || !steps.isWait(at);
      if (errno !== ERRNO.EINTR) {
        if (errno !== 0 && !steps.isFile(at)) this.#refused(nameOf(steps, at), errno);
        return this.#unlessEnded(steps, at);
      }
      if (process.hrtime.bigint() > deadline && ++looks > LOOKS_AFTER_DEADLINE) {
        throw new StopTimeoutError(`thread ${this.tid} did not stop in time`);
      }
    }
  }

  /** @throws ThreadGoneError when what a wait saw is the thread's end. */
  #unlessEnded(steps: Steps, at: number): number {
    if (at === steps.size || !steps.isWait(at) || (STATUS.view.getInt32(0, true) & 0xff) === STOPPED)
      return at;
    this.#stopped = false;
    this.#attached = false;
    throw new ThreadGoneError(`thread ${this.tid} ended`);
  }

  #request(name: RequestName, address: number, data: number): void {
    const { value, errno } = ptrace(name, this.tid, address, data);
    if (value === -1) this.#refused(name, errno);
  }

  #refused(name: string, errno: number): never {
    // ECHILD of waitpid: it has become another program, under the process's number.
    if ((errno === ERRNO.ESRCH || errno === ERRNO.ECHILD) && this.#attached) {
      this.#stopped = false;
      this.#gone = true;
      throw new ThreadGoneError(`thread ${this.tid} ended`);
    }
    throw new PtraceError(name, this.tid, errno);
  }
}
