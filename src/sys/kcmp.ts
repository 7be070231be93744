import { bindLibc, I64 } from "./libc.ts";

/** kcmp(2) has no wrapper in libc. Its number on x86-64, and the type that compares open files. */
const NR_KCMP = 312;
const KCMP_FILE = 0;

const syscall = bindLibc("syscall", [I64, I64, I64, I64, I64, I64], I64);

/**
 * Whether two descriptors of a process are one open file. False where that can't be asked, for want of
 * permission or of CONFIG_KCMP.
 */
export function sameFile(pid: number, fd: number, other: number): boolean {
  return syscall(NR_KCMP, pid, pid, KCMP_FILE, fd, other).value === 0;
}
