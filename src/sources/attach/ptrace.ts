import { ERRNO } from "../../abi/errno.ts";
import { HOST_THREADS } from "../../arch/arches.ts";
import { bindLibc, bindRepeatable, I32, I64, type LibcResult, NativeBuffer } from "../../os/libc.ts";
import { SOCK_FILTER_SIZE } from "./seccomp.ts";
import { type Expected, Steps } from "./steps.ts";

const { NR, USER_REGS_SIZE } = HOST_THREADS;

/** Requests of <linux/ptrace.h>. */
export const REQUEST = {
  PTRACE_CONT: 7,
  PTRACE_GETREGS: 12,
  PTRACE_SETREGS: 13,
  PTRACE_DETACH: 17,
  PTRACE_SYSCALL: 24,
  PTRACE_SETOPTIONS: 0x4200,
  PTRACE_GETSIGINFO: 0x4202,
  PTRACE_GETREGSET: 0x4204,
  PTRACE_SEIZE: 0x4206,
  PTRACE_INTERRUPT: 0x4207,
  PTRACE_GETSIGMASK: 0x420a,
  PTRACE_SETSIGMASK: 0x420b,
  PTRACE_SECCOMP_GET_FILTER: 0x420c,
  PTRACE_GET_SYSCALL_INFO: 0x420e,
  PTRACE_GET_RSEQ_CONFIGURATION: 0x420f,
} as const;

export type RequestName = keyof typeof REQUEST;

/** Events and marks of <linux/ptrace.h>. */
export const PTRACE_EVENT_STOP = 128;
/** Bytes of `struct ptrace_syscall_info`: op u8, arch u32, ip u64, sp u64; then nr u64 and six arguments u64, or rval s64. */
const SYSCALL_INFO_SIZE = 88;
/** SIGTRAP with the mark that PTRACE_O_TRACESYSGOOD puts on stops at a system call's entry and exit. */
export const SYSCALL_STOP = 5 | 0x80;

/** The low byte of a wait status that says "stopped". */
export const STOPPED = 0x7f;
const SIGTRAP = 5;
const WNOHANG = 1;
const WALL = 0x4000_0000;

const ptraceCall = bindRepeatable("ptrace", [I64, I64, I64, I64], I64);
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

/** The process is about to run another program, or is being attached to by somebody else: it can't be traced just now. */
export class BusyProcessError extends Error {}

/** The thread did not stop in time. */
export class StopTimeoutError extends Error {}

/** What single calls fill, shared by all of them: each reads it before the next one starts. */
export const STATUS = new NativeBuffer(4);
export const IOVEC = new NativeBuffer(16);
export const SYSCALL_INFO = new NativeBuffer(SYSCALL_INFO_SIZE);
/** The most instructions of a filter, BPF_MAXINSNS. */
const MOST_INSTRUCTIONS = 4096;
const FILTER = new NativeBuffer(MOST_INSTRUCTIONS * SOCK_FILTER_SIZE);
/** SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV and SIGSYS: those that what a thread does may bring about. */
const FAULTS: ReadonlySet<number> = new Set([4, 5, 7, 8, 11, 31]);
/** Bytes of `siginfo_t`; `si_code` is its third number, and that of a SIGBUS for failed memory that was not touched. */
const SIGINFO = new NativeBuffer(128);
const BUS_MCEERR_AO = 5;
/** The wait statuses of the stops that are waited for. */
const STATUSES = {
  interrupt: statusBuffer((PTRACE_EVENT_STOP << 16) | (SIGTRAP << 8) | STOPPED),
  syscall: statusBuffer((SYSCALL_STOP << 8) | STOPPED),
};
/** Registers on their way to the kernel, or back. */
export const REGS = new NativeBuffer(USER_REGS_SIZE);

/** The system calls that tracing is made of. {@link onStage} puts others in their place. */
let calls = {
  ptrace: ptraceCall,
  waitpid: waitpidCall,
  run: (steps: Steps, from: number): number => steps.run(from),
};
const REAL = calls;

/**
 * Runs something in which one thread is stopped and made to run system calls, with no thread there: as for real, but
 * that the kernel's part is played. What a process does first is slow; this is how it can have been done before.
 *
 * @param regs the registers that the thread is said to have; changed as they are set.
 * @param xstateSize bytes of its extended state.
 */
export function onStage(regs: NativeBuffer, xstateSize: number, run: () => void): void {
  const self = process.pid;
  const played: typeof ptraceCall = (request, _tid, _address, data) => {
    // For the sake of the call itself: nobody traces itself (ESRCH).
    ptraceCall(REQUEST.PTRACE_GETREGS, self, 0, REGS.address);
    if (request === REQUEST.PTRACE_GETREGS) copy(data!, regs.address, USER_REGS_SIZE);
    if (request === REQUEST.PTRACE_GETREGSET) IOVEC.view.setBigUint64(8, BigInt(xstateSize), true);
    return { value: 0, errno: 0 };
  };
  // Every call returns 0.
  SYSCALL_INFO.bytes.fill(0);
  calls = {
    ptrace: played,
    waitpid: (tid) => ({ value: tid!, errno: 0 }),
    run: (steps, from) => {
      for (let step = from; step < steps.size; step++) {
        const [number, ...args] = steps.call(step);
        if (number === NR.ptrace) played(...args);
        else if (number !== NR.wait4 && steps.run(step, step + 1) === step) return step;
      }
      return steps.size;
    },
  };
  try {
    run();
  } finally {
    calls = REAL;
  }
}

/** ptrace(2). */
export function ptrace(name: RequestName, tid: number, address: number, data: number): LibcResult {
  return calls.ptrace(REQUEST[name], tid, address, data);
}

/** waitpid(2), which fills {@link STATUS}. */
function waitpid(tid: number, options: number): LibcResult {
  return calls.waitpid(tid, STATUS.address, options);
}

/** What is to be done with a stopped thread, other than system calls. */
export const STEPS = new Steps();

/** Adds a ptrace(2) request. */
export function addRequest(
  steps: Steps,
  name: RequestName,
  tid: number,
  address: number,
  data: number,
  expected?: Expected,
): void {
  steps.add(NR.ptrace, [REQUEST[name], tid, address, data], expected);
}

/** Adds waiting for a stop, which fills {@link STATUS}: nothing behind it is done after another one. */
export function addWait(steps: Steps, tid: number, stop: keyof typeof STATUSES): void {
  const same = { here: STATUS.address, there: STATUSES[stop].address, length: STATUS.bytes.length };
  steps.add(NR.wait4, [tid, STATUS.address, WALL, 0], { least: 1, same });
}

/** What a step does: the name of its request or of its system call. */
export function nameOf(steps: Steps, step: number): string {
  const [number, request] = steps.call(step);
  const [table, value] = number === NR.ptrace ? [REQUEST, request] : [NR, number];
  return Object.entries(table).find(([, one]) => one === value)![0];
}

/**
 * The programs of a stopped thread's seccomp filters, the latest first.
 *
 * @returns `undefined` where they can't be read.
 */
export function readFilters(tid: number): Uint8Array[] | undefined {
  const filters: Uint8Array[] = [];
  for (;;) {
    const { value, errno } = ptrace("PTRACE_SECCOMP_GET_FILTER", tid, filters.length, FILTER.address);
    if (value > 0) filters.push(FILTER.bytes.slice(0, value * SOCK_FILTER_SIZE));
    else return errno === ERRNO.ENOENT ? filters : undefined;
  }
}

/** Milliseconds between two looks at a thread that is to be let go and has not stopped. */
const LOOK_MS = 5;

/**
 * Looks at a traced thread every now and then until it has stopped, and is let go, or has ended. Keeps no process alive.
 *
 * @param leader the main thread of its process: it has that number if it has run another program.
 */
export function detachLater(tid: number, leader: number): void {
  let now = tid;
  const look = () => {
    // A stop may have been waited for by somebody else, as by Node when the process is its child.
    const detached = ptrace("PTRACE_DETACH", now, 0, 0).value === 0;
    const seen = detached ? -1 : waitpid(now, WNOHANG | WALL).value;
    if (seen === 0 || (seen === now && (STATUS.view.getInt32(0, true) & 0xff) === STOPPED)) return;
    if (!detached && seen === -1 && now !== leader) {
      now = leader;
      ptrace("PTRACE_INTERRUPT", leader, 0, 0);
      return;
    }
    clearInterval(timer);
  };
  const timer = setInterval(look, LOOK_MS).unref();
  look();
}

/** Whether the signal that a thread stopped at the delivery of is of its own doing. */
export function isFault(tid: number, signal: number): boolean {
  if (!FAULTS.has(signal)) return false;
  const { value } = ptrace("PTRACE_GETSIGINFO", tid, 0, SIGINFO.address);
  const code = SIGINFO.view.getInt32(8, true);
  return value !== -1 && code > 0 && code !== BUS_MCEERR_AO;
}

/** Runs steps, from one of them on. @returns see {@link Steps.run}. */
export function runSteps(steps: Steps, from = 0): number {
  return calls.run(steps, from);
}

function statusBuffer(status: number): NativeBuffer {
  const buffer = new NativeBuffer(4);
  buffer.view.setInt32(0, status, true);
  return buffer;
}
