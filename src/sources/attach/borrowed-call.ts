import { HOST_THREADS } from "../../arch/arches.ts";
import { NativeBuffer } from "../../os/libc.ts";
import { addRequest, addWait, REQUEST, SYSCALL_INFO } from "./ptrace.ts";
import { Steps } from "./steps.ts";

const { ARGUMENTS, AUDIT_ARCH, SYSCALL_INSTRUCTION_SIZE, USER_REGS_SIZE, readRegister } = HOST_THREADS;

/** A system call that a thread is to make. */
export interface BorrowedCall {
  /** The registers that it enters with, rip on a `syscall` instruction. */
  entry: NativeBuffer;
  /** The registers that it makes the call with, put in their place when it has entered. */
  call: NativeBuffer;
  /** The registers that it is left with behind it. */
  rest: NativeBuffer;
  /** The thread's memory, open. */
  fd: number;
  /** A structure that the call takes and fills, and where it stands there. */
  argument?: { bytes: Buffer; address: bigint } | undefined;
}

/** Bytes of the largest structure that an ioctl of ours takes: `struct kvm_lapic_state`. */
export const ARGUMENT_ROOM = 1024;

/** PTRACE_SYSCALL_INFO_ENTRY of <linux/ptrace.h>, and the bytes of `struct ptrace_syscall_info` that an entry has. */
const PTRACE_SYSCALL_INFO_ENTRY = 1;
const ENTRY_INFO_SIZE = 80;

/** What the steps take and fill. */
const ENTRY = new NativeBuffer(USER_REGS_SIZE);
const CALL = new NativeBuffer(USER_REGS_SIZE);
const REST = new NativeBuffer(USER_REGS_SIZE);
const ARGUMENT = new NativeBuffer(ARGUMENT_ROOM);
/** What {@link SYSCALL_INFO} is to be at the entry of the call. */
const ENTRY_INFO = new NativeBuffer(SYSCALL_INFO.bytes.length);

/**
 * How a thread makes a system call. These are always the same steps, made at the first call: that leaves little to be
 * done while a thread is stopped.
 */
export const CALL_STEPS = new Steps();
/** The places of some of them. */
const AT = { entry: 0, write: 1, start: 2, check: 4, call: 5, rest: 9, read: 10 } as const;

function makeSteps(steps: Steps): void {
  const info = [SYSCALL_INFO.bytes.length, SYSCALL_INFO.address] as const;
  const same = { here: SYSCALL_INFO.address, there: ENTRY_INFO.address, length: ENTRY_INFO_SIZE };
  addRequest(steps, "PTRACE_SETREGS", 0, 0, ENTRY.address);
  steps.write(0, ARGUMENT.address, 0, 0);
  addRequest(steps, "PTRACE_SYSCALL", 0, 0, 0);
  addWait(steps, 0, "syscall");
  addRequest(steps, "PTRACE_GET_SYSCALL_INFO", 0, ...info, { least: ENTRY_INFO_SIZE, same });
  addRequest(steps, "PTRACE_SETREGS", 0, 0, CALL.address);
  addRequest(steps, "PTRACE_SYSCALL", 0, 0, 0);
  addWait(steps, 0, "syscall");
  addRequest(steps, "PTRACE_GET_SYSCALL_INFO", 0, ...info);
  // At once: should this process be killed from now on, nothing of it is left in the thread.
  addRequest(steps, "PTRACE_SETREGS", 0, 0, REST.address);
  steps.read(0, ARGUMENT.address, 0, 0);
}

/**
 * Sets {@link CALL_STEPS} up for a thread.
 *
 * @param isInPlace whether it has the registers to enter with.
 * @param isLeft whether it is left with the registers of the call behind it, and not with those for that.
 * @param signal what it gets when it goes on; 0 for nothing.
 * @returns the first step to do.
 */
export function setUpCall(
  tid: number,
  { entry, call, rest, fd, argument }: BorrowedCall,
  { isInPlace, isLeft, signal }: { isInPlace: boolean; isLeft: boolean; signal: number },
): number {
  const steps = CALL_STEPS;
  if (steps.size === 0) makeSteps(steps);
  for (let step = 0; step < steps.size; step++) steps.setThread(step, tid);
  ENTRY.bytes.set(entry.bytes);
  CALL.bytes.set(call.bytes);
  REST.bytes.set(rest.bytes);
  expectEntry(entry.view);
  setSignal(AT.start, signal);
  // What is not to be set is read.
  const setIf = (sets: boolean) => (sets ? REQUEST.PTRACE_SETREGS : REQUEST.PTRACE_GETREGS);
  steps.setArgument(AT.call, 0, setIf(call !== entry));
  steps.setArgument(AT.rest, 0, setIf(!isLeft));
  const { bytes, address = 0n } = argument ?? {};
  if (bytes !== undefined) ARGUMENT.bytes.set(bytes);
  for (const step of [AT.write, AT.read]) steps.setFile(step, fd, bytes?.length ?? 0, Number(address));
  return isInPlace ? AT.write : AT.entry;
}

/** The signal that a thread gets when it goes on at a step. */
export function setSignal(step: number, signal: number): void {
  CALL_STEPS.setArgument(step, 3, signal);
}

/** Whether the thread went on, and got its signal, in what was done last. */
export function hasGoneOn(): boolean {
  return CALL_STEPS.at > AT.start;
}

/** Whether a step is the look at the system call that the thread has entered. */
export function isEntryCheck(step: number): boolean {
  return step === AT.check;
}

/** What the call returned; the structure is filled. */
export function resultOf({ argument }: BorrowedCall): bigint {
  argument?.bytes.set(ARGUMENT.bytes.subarray(0, argument.bytes.length));
  return SYSCALL_INFO.view.getBigInt64(24, true);
}

/** Number, arguments and place of the call that registers are set up for, as PTRACE_GET_SYSCALL_INFO gives them. */
function expectEntry(regs: DataView): void {
  const { view } = ENTRY_INFO;
  view.setUint8(0, PTRACE_SYSCALL_INFO_ENTRY);
  view.setUint32(4, AUDIT_ARCH, true);
  view.setBigUint64(8, readRegister(regs, "rip") + SYSCALL_INSTRUCTION_SIZE, true);
  view.setBigUint64(16, readRegister(regs, "rsp"), true);
  view.setBigUint64(24, readRegister(regs, "rax"), true);
  for (let place = 0; place < ARGUMENTS.length; place++) {
    view.setBigUint64(32 + place * 8, readRegister(regs, ARGUMENTS[place]!), true);
  }
}
