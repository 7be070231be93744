import { ERRNO } from "../../../abi/errno.ts";
import { IOCTL } from "../../../abi/ioctl.ts";
import { NR, readRegister, SYSCALL_INSTRUCTION_SIZE, type UserRegister, writeRegister } from "./user-regs.ts";

/**
 * System calls that a stop interrupted. The kernel leaves a code in rax and acts on it when the thread goes
 * on (arch/x86/kernel/signal.c, arch_do_signal_or_restart; the codes are of <linux/errno.h>).
 */

const ERESTARTSYS = -512n;
const ERESTARTNOINTR = -513n;
/** The call is made again by its own number, or returns EINTR if a signal's handler is to run. */
export const ERESTARTNOHAND = -514n;
/** The same, but it is continued by restart_syscall(2), which a seccomp filter may forbid. */
export const ERESTART_RESTARTBLOCK = -516n;
const AGAIN: ReadonlySet<bigint> = new Set([
  ERESTARTSYS,
  ERESTARTNOINTR,
  ERESTARTNOHAND,
  ERESTART_RESTARTBLOCK,
]);

/** Whether the kernel makes a call again, or continues it, when its thread goes on with this in rax. */
export function isRestarted(rax: bigint): boolean {
  return AGAIN.has(rax);
}

/** System call numbers of x86-64, <asm/unistd_64.h>. */
export const NR_RESTART_SYSCALL = 219;
const NR_POLL = 7;
const NR_NANOSLEEP = 35;
const NR_FUTEX = 202;
const NR_CLOCK_NANOSLEEP = 230;
/** semop, rt_sigtimedwait, io_getevents, semtimedop, epoll_wait, epoll_pwait and epoll_pwait2 (signal(7)). */
const NEVER_RESTARTED: ReadonlySet<number> = new Set([65, 128, 208, 220, 232, 281, 441]);
/** All bits but FUTEX_PRIVATE_FLAG and FUTEX_CLOCK_REALTIME. */
const FUTEX_COMMAND = ~(128 | 256);
const FUTEX_WAIT = 0;
const TIMER_ABSTIME = 1;

/**
 * What becomes of a system call that a stop interrupts, if it is made again as it was: `exact`, it waits for the
 * same; `eintr`, it isn't, and returns EINTR as after any signal; `relative`, it waits for a time from now on,
 * and so for longer: only restart_syscall(2) knows how much was left.
 *
 * @param args the low 32 bits of its first three arguments.
 */
export function ifMadeAgain(number: number, args: readonly number[]): "exact" | "eintr" | "relative" {
  const [, second = 0, third = 0] = args;
  switch (number) {
    case NR_POLL:
      return (third | 0) < 0 ? "exact" : "relative";
    case NR_FUTEX:
      return (second & FUTEX_COMMAND) === FUTEX_WAIT ? "relative" : "exact";
    case NR_CLOCK_NANOSLEEP:
      return second === TIMER_ABSTIME ? "exact" : "relative";
    case NR_NANOSLEEP:
    case NR_RESTART_SYSCALL:
      return "relative";
    default:
      return NEVER_RESTARTED.has(number) ? "eintr" : "exact";
  }
}

/** The same of the call that a thread was stopped in, from its registers. */
export function ifStoppedCallMadeAgain(regs: DataView): ReturnType<typeof ifMadeAgain> {
  const low = (name: UserRegister) => Number(readRegister(regs, name) & 0xffff_ffffn);
  return ifMadeAgain(low("orig_rax"), [low("rdi"), low("rsi"), low("rdx")]);
}

/**
 * Makes the registers of a thread that was stopped in a system call those with which it makes that call again: its
 * number in rax, rip on the instruction.
 *
 * @returns false, with nothing changed, for a thread that was in none, or whose call has had an effect.
 */
export function makeCallAgain(regs: DataView): boolean {
  const number = BigInt.asIntN(64, readRegister(regs, "orig_rax"));
  if (number < 0n || !hadNoEffect(regs)) return false;
  writeRegister(regs, "rax", number);
  writeRegister(regs, "orig_rax", -1n);
  writeRegister(regs, "rip", readRegister(regs, "rip") - SYSCALL_INSTRUCTION_SIZE);
  return true;
}

/** Whether a call that was interrupted is as if it had not been made: of those that return EINTR, KVM_RUN is one. */
function hadNoEffect(regs: DataView): boolean {
  const result = BigInt.asIntN(64, readRegister(regs, "rax"));
  if (isRestarted(result)) return true;
  if (result !== BigInt(-ERRNO.EINTR)) return false;
  const request = Number(readRegister(regs, "rsi") & 0xffff_ffffn);
  const inKvmRun = readRegister(regs, "orig_rax") === BigInt(NR.ioctl) && request === IOCTL.KVM_RUN;
  return inKvmRun || ifStoppedCallMadeAgain(regs) === "eintr";
}
