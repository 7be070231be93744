import { bindLibc, I64, NativeBuffer } from "../../os/libc.ts";
import { interruptHandler } from "./steps.ts";

/**
 * A time limit for system calls that have none, such as waitpid(2): a signal to this very thread, whose
 * handler lets the call return EINTR.
 */

/** A real-time signal: nobody sends these by accident. */
const SIGNAL = 62;
const SA_SIGINFO = 4;
const CLOCK_MONOTONIC = 1;
const SIGEV_THREAD_ID = 4;
/** System calls of x86-64 that libc wraps differently, or in another library, from version to version. */
const NR_GETTID = 186;
const NR_TIMER_CREATE = 222;
const NR_TIMER_SETTIME = 223;

const syscall = bindLibc("syscall", [I64, I64, I64, I64, I64], I64);
const sigaction = bindLibc("sigaction", [I64, I64, I64]);

/** Interrupts whatever system call this thread is in, again and again. */
export class Alarm {
  readonly #timer = new NativeBuffer(4);
  readonly #time = new NativeBuffer(32);
  readonly #off = new NativeBuffer(32);

  /** @param everyMs milliseconds between two interruptions, below 1000. */
  constructor(everyMs: number) {
    installHandler();
    const event = new NativeBuffer(64);
    event.view.setInt32(8, SIGNAL, true);
    event.view.setInt32(12, SIGEV_THREAD_ID, true);
    event.view.setInt32(16, syscall(NR_GETTID, 0, 0, 0, 0).value, true);
    const { value, errno } = syscall(NR_TIMER_CREATE, CLOCK_MONOTONIC, event.address, this.#timer.address, 0);
    if (value < 0) throw new Error(`timer_create failed with errno ${errno}`);
    // struct itimerspec: the interval, then the first time, each in seconds and nanoseconds.
    this.#time.view.setBigInt64(8, BigInt(everyMs) * 1_000_000n, true);
    this.#time.view.setBigInt64(24, BigInt(everyMs) * 1_000_000n, true);
  }

  start(): void {
    this.#set(this.#time);
  }

  stop(): void {
    this.#set(this.#off);
  }

  #set(time: NativeBuffer): void {
    syscall(NR_TIMER_SETTIME, this.#timer.view.getInt32(0, true), 0, time.address, 0);
  }
}

function installHandler(): void {
  // struct sigaction of glibc and musl alike: the handler first; no mask; then the flags, without SA_RESTART.
  const action = new NativeBuffer(152);
  action.view.setBigInt64(0, BigInt(interruptHandler()), true);
  action.view.setInt32(136, SA_SIGINFO, true);
  sigaction(SIGNAL, action.address, 0);
}
