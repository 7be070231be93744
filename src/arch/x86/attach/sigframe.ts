import { ERRNO } from "../../../abi/errno.ts";
import { viewOf } from "../../../abi/u64.ts";
import { isRestarted, NR_RESTART_SYSCALL } from "./restart.ts";
import { readRegister, registerOffset, SYSCALL_INSTRUCTION_SIZE, type UserRegister } from "./user-regs.ts";

/**
 * The frame that rt_sigreturn(2) takes a thread's registers from: `struct rt_sigframe` from its
 * `struct ucontext` on (<asm/ucontext.h>, <asm/sigcontext.h>), and the floating-point state behind it.
 */

const UC_FLAGS = 0;
const UC_STACK_FLAGS = 24;
const UC_MCONTEXT = 40;
const UC_SIGMASK = 296;
const UCONTEXT_SIZE = 304;
const FPSTATE_POINTER = UC_MCONTEXT + 184;

/** UC_FP_XSTATE, UC_SIGCONTEXT_SS and UC_STRICT_RESTORE_SS: all three parts are there and to be used. */
const FLAGS = 1 | 2 | 4;
/** A mode that sigaltstack(2) refuses, and rt_sigreturn with it: the alternate stack stays as it is. */
const KEEP_ALTERNATE_STACK = 0x7fff_ffff;

/** Registers of `struct sigcontext_64` by place. */
const MCONTEXT: readonly UserRegister[] = [
  "r8",
  "r9",
  "r10",
  "r11",
  "r12",
  "r13",
  "r14",
  "r15",
  "rdi",
  "rsi",
  "rbp",
  "rbx",
  "rdx",
  "rax",
  "rcx",
  "rsp",
  "rip",
  "eflags",
];
const MCONTEXT_CS = UC_MCONTEXT + 144;
const MCONTEXT_SS = UC_MCONTEXT + 150;
const PLACE = (name: UserRegister) => UC_MCONTEXT + MCONTEXT.indexOf(name) * 8;
/** Where each stands in a thread's registers, and where in the frame. */
const MOVES = /* @__PURE__ */ MCONTEXT.map((name) => [registerOffset(name), PLACE(name)] as const);

/** `struct _fpx_sw_bytes`: what the kernel looks for in the floating-point state of a frame. */
const FP_XSTATE_MAGIC1 = 0x46505853;
const FP_XSTATE_MAGIC2 = 0x46505845;
const SW_BYTES = 464;
const SW_BYTES_SIZE = 48;
/** XTILEDATA, whose place is at the end and which only those threads have that asked for it. */
const XTILEDATA = 1n << 18n;
const XTILEDATA_OFFSET = 2816;
const XSTATE_BV = 512;

/** Where {@link buildSigframe} puts things. */
export interface Sigframe {
  bytes: Uint8Array;
  /** The offset of the `ucontext`, which rsp must point at when rt_sigreturn is called. */
  context: number;
}

/** The bytes that {@link buildSigframe} needs for so much floating-point state, alignment included. */
export function sigframeSize(xstateSize: number): number {
  return 64 + UCONTEXT_SIZE + 64 + xstateSize + 4;
}

/**
 * Builds a frame that puts a thread back to where it was: every register, the signal mask and the
 * floating-point state. A system call that was interrupted is run again, as the kernel would have done;
 * one that restart_syscall(2) would have continued starts over, and so may wait up to twice as long. Which
 * call it was is forgotten when it had been continued before: then it returns EINTR, as after a signal.
 *
 * @param address where the frame will stand in the thread's memory; a multiple of 64.
 * @param regs `struct user_regs_struct` of the stopped thread.
 * @param signalMask its `sigset_t`, 8 bytes.
 * @param xstate its extended state as PTRACE_GETREGSET with NT_X86_XSTATE gives it.
 */
export function buildSigframe(
  address: bigint,
  regs: DataView,
  signalMask: Uint8Array,
  xstate: Uint8Array,
): Sigframe {
  // rt_sigframe starts with a return address, so that the kernel keeps the context off a multiple of 16.
  const context = 8;
  const fpstate = alignUp(context + UCONTEXT_SIZE, 64);
  const fp = frameXstate(xstate);
  const bytes = new Uint8Array(fpstate + fp.length);
  const view = viewOf(bytes);
  view.setBigUint64(context + UC_FLAGS, BigInt(FLAGS), true);
  view.setUint32(context + UC_STACK_FLAGS, KEEP_ALTERNATE_STACK, true);
  for (const [from, to] of MOVES) {
    view.setUint32(context + to, regs.getUint32(from, true), true);
    view.setUint32(context + to + 4, regs.getUint32(from + 4, true), true);
  }
  view.setUint16(context + MCONTEXT_CS, Number(readRegister(regs, "cs")), true);
  view.setUint16(context + MCONTEXT_SS, Number(readRegister(regs, "ss")), true);
  restartSyscall(view, context, regs);
  view.setBigUint64(context + FPSTATE_POINTER, address + BigInt(fpstate), true);
  bytes.set(signalMask.subarray(0, 8), context + UC_SIGMASK);
  bytes.set(fp, fpstate);
  return { bytes, context };
}

/** What the kernel does on its way back to user code when a system call was interrupted. */
function restartSyscall(view: DataView, context: number, regs: DataView): void {
  const number = BigInt.asIntN(64, readRegister(regs, "orig_rax"));
  if (number < 0n) return;
  if (!isRestarted(BigInt.asIntN(64, readRegister(regs, "rax")))) return;
  if (number === BigInt(NR_RESTART_SYSCALL)) {
    view.setBigInt64(context + PLACE("rax"), BigInt(-ERRNO.EINTR), true);
    return;
  }
  view.setBigInt64(context + PLACE("rax"), number, true);
  const again = readRegister(regs, "rip") - SYSCALL_INSTRUCTION_SIZE;
  view.setBigUint64(context + PLACE("rip"), again, true);
}

/** The extended state with the marks by which the kernel knows that it is more than FXSAVE's 512 bytes. */
function frameXstate(xstate: Uint8Array): Uint8Array {
  const source = viewOf(xstate);
  const noTiles = (source.getBigUint64(XSTATE_BV, true) & XTILEDATA) === 0n;
  const size = noTiles ? Math.min(xstate.length, XTILEDATA_OFFSET) : xstate.length;
  const bytes = new Uint8Array(size + 4);
  bytes.set(xstate.subarray(0, size));
  const view = viewOf(bytes);
  // ptrace leaves the mask of what the state holds in the first of the software bytes.
  const features = source.getBigUint64(SW_BYTES, true) & (noTiles ? ~XTILEDATA : ~0n);
  bytes.fill(0, SW_BYTES, SW_BYTES + SW_BYTES_SIZE);
  view.setUint32(SW_BYTES, FP_XSTATE_MAGIC1, true);
  view.setUint32(SW_BYTES + 4, size + 4, true);
  view.setBigUint64(SW_BYTES + 8, features, true);
  view.setUint32(SW_BYTES + 16, size, true);
  view.setUint32(size, FP_XSTATE_MAGIC2, true);
  return bytes;
}

function alignUp(value: number, to: number): number {
  return Math.ceil(value / to) * to;
}
