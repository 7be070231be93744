import { HOST_THREADS } from "../../arch/arches.ts";
import { bindLibc, bindRepeatable, I32, I64, type LibcResult, NativeBuffer } from "../../os/libc.ts";

const { ARGUMENTS, AUDIT_ARCH, SYSCALL_INSTRUCTION_SIZE, USER_REGS_SIZE, readRegister } = HOST_THREADS;

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
const PTRACE_SYSCALL_INFO_ENTRY = 1;
/** Bytes of `struct ptrace_syscall_info`: op u8, arch u32, ip u64, sp u64; then nr u64 and six arguments u64, or rval s64. */
export const SYSCALL_INFO_SIZE = 88;
/** SIGTRAP with the mark that PTRACE_O_TRACESYSGOOD puts on stops at a system call's entry and exit. */
export const SYSCALL_STOP = 5 | 0x80;

/** The low byte of a wait status that says "stopped". */
export const STOPPED = 0x7f;
export const WNOHANG = 1;
export const WALL = 0x4000_0000;

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

/** The thread did not stop in time. */
export class StopTimeoutError extends Error {}

/** What single calls fill, shared by all of them: each reads it before the next one starts. */
export const STATUS = new NativeBuffer(4);
export const IOVEC = new NativeBuffer(16);
export const SYSCALL_INFO = new NativeBuffer(SYSCALL_INFO_SIZE);
/** Registers on their way to the kernel, or back. */
export const REGS = new NativeBuffer(USER_REGS_SIZE);

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
      ptraceCall(REQUEST.PTRACE_GETREGS, self, 0, REGS.address);
      if (request === REQUEST.PTRACE_GETREGS) copy(data!, regs.address, USER_REGS_SIZE);
      if (request === REQUEST.PTRACE_SETREGS) copy(regs.address, data!, USER_REGS_SIZE);
      if (request === REQUEST.PTRACE_GETREGSET) IOVEC.view.setBigUint64(8, BigInt(xstateSize), true);
      if (request === REQUEST.PTRACE_GET_SYSCALL_INFO) playSyscall(regs.view, stops % 2 === 0);
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
  view.setUint32(4, AUDIT_ARCH, true);
  view.setBigUint64(8, readRegister(regs, "rip") + SYSCALL_INSTRUCTION_SIZE, true);
  view.setBigUint64(24, entry ? readRegister(regs, "rax") : 0n, true);
  ARGUMENTS.forEach((name, place) => {
    view.setBigUint64(32 + place * 8, readRegister(regs, name), true);
  });
}

/** ptrace(2). */
export function ptrace(name: RequestName, tid: number, address: number, data: number): LibcResult {
  return calls.ptrace(REQUEST[name], tid, address, data);
}

/** waitpid(2), which fills {@link STATUS}. */
export function waitpid(tid: number, options: number): LibcResult {
  return calls.waitpid(tid, STATUS.address, options);
}

/** Whether {@link SYSCALL_INFO} is of the entry of the system call that registers are set up for: number, arguments, place. */
export function hasEntered(regs: DataView): boolean {
  const info = SYSCALL_INFO.view;
  return (
    info.getUint8(0) === PTRACE_SYSCALL_INFO_ENTRY &&
    info.getUint32(4, true) === AUDIT_ARCH &&
    info.getBigUint64(8, true) === readRegister(regs, "rip") + SYSCALL_INSTRUCTION_SIZE &&
    info.getBigUint64(24, true) === readRegister(regs, "rax") &&
    ARGUMENTS.every((name, place) => info.getBigUint64(32 + place * 8, true) === readRegister(regs, name))
  );
}
