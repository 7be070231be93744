import { bindLibc, I64 } from "./libc.ts";
import { otherThread } from "./proc.ts";

/** kcmp(2) has no wrapper in libc. Its number on x86-64, and the type that compares open files. */
const NR_KCMP = 312;
const KCMP_FILE = 0;

const syscall = bindLibc("syscall", [I64, I64, I64, I64, I64, I64], I64);

/** A descriptor of a process. */
export interface Descriptor {
  pid: number;
  fd: number;
}

/** Whether two descriptors, of one process or of two, are one open file. False where that can't be asked. */
export function sameFile(one: Descriptor, other: Descriptor): boolean {
  return compare(owner(one), owner(other)) === 0;
}

/**
 * One descriptor for each open file, the smallest, in ascending order. Where that can't be asked, for want of
 * permission or of CONFIG_KCMP, all are taken for different.
 *
 * @param fds ascending descriptors of a process.
 */
export function distinctFiles(pid: number, fds: readonly number[]): number[] {
  const { pid: tid } = owner({ pid, fd: 0 });
  return distinct(fds, (a, b) => ORDER[compare({ pid: tid, fd: a }, { pid: tid, fd: b })] ?? Number.NaN);
}

/** The first of each that are equal by an order, in which they are sorted: that takes n log n comparisons. */
export function distinct(fds: readonly number[], order: (a: number, b: number) => number): number[] {
  if (fds.length < 2 || Number.isNaN(order(fds[0]!, fds[1]!))) return [...fds];
  // Copies stay in ascending order: the sort is stable.
  const sorted = fds.toSorted(order);
  return sorted.filter((fd, at) => at === 0 || order(sorted[at - 1]!, fd) !== 0).sort((a, b) => a - b);
}

/** The same by a thread that has the process's files. */
function owner({ pid, fd }: Descriptor): Descriptor {
  return { pid: otherThread(pid) ?? pid, fd };
}

/** What kcmp(2) says: equal, less, greater. 3 is for different without an order. */
const ORDER = [0, -1, 1];

function compare(one: Descriptor, other: Descriptor): number {
  return syscall(NR_KCMP, one.pid, other.pid, KCMP_FILE, one.fd, other.fd).value;
}
