/**
 * `struct user_regs_struct` of <sys/user.h>: 27 registers of 64 bits, as PTRACE_GETREGS gives them. The
 * number of each is its place.
 */
const ORDER = [
  "r15",
  "r14",
  "r13",
  "r12",
  "rbp",
  "rbx",
  "r11",
  "r10",
  "r9",
  "r8",
  "rax",
  "rcx",
  "rdx",
  "rsi",
  "rdi",
  "orig_rax",
  "rip",
  "cs",
  "eflags",
  "rsp",
  "ss",
  "fs_base",
  "gs_base",
  "ds",
  "es",
  "fs",
  "gs",
] as const;

export type UserRegister = (typeof ORDER)[number];

/** What a system call's architecture is to seccomp and ptrace: AUDIT_ARCH_X86_64 of <linux/audit.h>. */
export const AUDIT_ARCH = 0xc000_003e;

/** Bytes of `struct user_regs_struct`. */
export const USER_REGS_SIZE = ORDER.length * 8;

const OFFSET = /* @__PURE__ */ Object.fromEntries(ORDER.map((name, place) => [name, place * 8])) as Record<
  UserRegister,
  number
>;

/** Where a register stands in `struct user_regs_struct`. */
export function registerOffset(name: UserRegister): number {
  return OFFSET[name];
}

/** Reads a register, unsigned. */
export function readRegister(regs: DataView, name: UserRegister): bigint {
  return regs.getBigUint64(OFFSET[name], true);
}

/** Writes a register. Negative numbers are taken as two's complement. */
export function writeRegister(regs: DataView, name: UserRegister, value: bigint): void {
  regs.setBigUint64(OFFSET[name], BigInt.asUintN(64, value), true);
}

/** The code segment of 64-bit user code: `__USER_CS` of <asm/segment.h>. 32-bit code has 0x23. */
export const USER_CS_64 = 0x33n;

/** Bytes below the stack pointer that a function may use without moving it (System V ABI, 3.2.2). */
export const RED_ZONE = 128;

/** System call numbers of x86-64, <asm/unistd_64.h>. */
export const NR = {
  mmap: 9,
  munmap: 11,
  ioctl: 16,
  pread64: 17,
  pwrite64: 18,
  wait4: 61,
  ptrace: 101,
} as const;

/** The registers that system calls take their arguments in (System V ABI, A.2.1). */
export const ARGUMENTS = ["rdi", "rsi", "rdx", "r10", "r8", "r9"] as const satisfies readonly UserRegister[];

/** Bytes of `syscall`, and of `int $0x80`: rip stands behind it when it has been run. */
export const SYSCALL_INSTRUCTION_SIZE = 2n;
