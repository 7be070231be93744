import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { type ProcessId, withMemory } from "../../os/proc.ts";

/** One line of `/proc/PID/maps`. */
export interface Mapping {
  start: bigint;
  end: bigint;
  perms: string;
  name: string;
}

/** Code of a process that a stopped thread can be sent through. */
export interface Gadgets {
  /** The address of a `syscall` instruction. */
  syscall: bigint;
  /** What must stand at these addresses. */
  code: readonly { address: bigint; bytes: Buffer }[];
  /**
   * With a `ret` behind `syscall`, the address of code that calls rt_sigreturn(2): what every libc gives the
   * kernel as `sa_restorer`. Both together let a thread find back by itself.
   */
  restorer: bigint | undefined;
}

/** The `syscall` instruction. */
export const SYSCALL = Buffer.from("0f05", "hex");
const SYSCALL_RET = Buffer.from("0f05c3", "hex");
/** `mov $15, %rax; syscall` and `mov $15, %eax; syscall`. */
const RESTORERS = [Buffer.from("48c7c00f0000000f05", "hex"), Buffer.from("b80f0000000f05", "hex")];
/** More code than that is not looked through: libc comes first, and it is smaller. */
const MOST_CODE = 64 << 20;

/** The mappings of a process: none of one that is ending or gone. @throws the error of the read. */
export function readMappings(pid: ProcessId): Mapping[] {
  const text = readMaps(pid);
  return [...text.matchAll(/^(\w+)-(\w+) (\S+) \S+ \S+ \S+[^\S\n]*(.*)$/gm)].map(
    ([, start, end, perms, name]) => ({
      start: BigInt(`0x${start}`),
      end: BigInt(`0x${end}`),
      perms: perms!,
      name: name!,
    }),
  );
}

function readMaps(pid: ProcessId): string {
  try {
    return readFileSync(`/proc/${withMemory(pid)}/maps`, "latin1");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ESRCH") return "";
    throw error;
  }
}

/** Whether a process has ended, or has given up its memory and is about to. */
export function isEnding(pid: ProcessId): boolean {
  try {
    return readMappings(pid).length === 0;
  } catch {
    return false;
  }
}

/**
 * Looks for the code that {@link Gadgets} names: in libc, else in the program, else in the vDSO.
 *
 * @returns `undefined` when there is not even a `syscall` instruction.
 */
export function findGadgets(pid: ProcessId, mappings: readonly Mapping[]): Gadgets | undefined {
  const found: Record<"any" | "ret" | "restorer", Gadgets["code"][number] | undefined> = {
    any: undefined,
    ret: undefined,
    restorer: undefined,
  };
  const code = mappings.filter(isCode).sort((a, b) => rank(a) - rank(b));
  const fd = openSync(`/proc/${withMemory(pid)}/mem`, "r");
  try {
    for (const { start, end } of code) {
      const text = readCode(fd, start, Number(end - start));
      const at = (bytes: Buffer) => {
        const index = text.indexOf(bytes);
        return index < 0 ? undefined : { address: start + BigInt(index), bytes };
      };
      found.any ??= at(SYSCALL);
      found.ret ??= at(SYSCALL_RET);
      found.restorer ??= at(RESTORERS[0]!) ?? at(RESTORERS[1]!);
      if (found.ret !== undefined && found.restorer !== undefined) break;
    }
  } finally {
    closeSync(fd);
  }
  const { any, ret, restorer } = found;
  if (any === undefined) return undefined;
  return ret !== undefined && restorer !== undefined
    ? { syscall: ret.address, restorer: restorer.address, code: [ret, restorer] }
    : { syscall: any.address, restorer: undefined, code: [any] };
}

function isCode({ start, end, perms, name }: Mapping): boolean {
  return perms.startsWith("r-x") && name !== "[vsyscall]" && end - start <= MOST_CODE;
}

function rank({ name }: Mapping): number {
  if (/\/(libc|libc-[\d.]+|ld-musl[^/]*)\.so/.test(name)) return 0;
  return name === "[vdso]" ? 2 : 1;
}

function readCode(fd: number, start: bigint, size: number): Buffer {
  const bytes = Buffer.alloc(size);
  try {
    return bytes.subarray(0, readSync(fd, bytes, 0, size, start));
  } catch {
    // A mapping that went away, or whose file got shorter.
    return bytes.subarray(0, 0);
  }
}

/**
 * Whether the stack that a thread is on has room for so many bytes below an address.
 *
 * Only what is known to be a stack counts: the main thread's, and those with a guard below them as pthreads
 * and coroutines have. Elsewhere, as on goroutines' stacks, the bytes below may be someone else's.
 */
export function hasStackRoom(mappings: readonly Mapping[], address: bigint, room: number): boolean {
  const index = mappings.findIndex(({ start, end }) => start <= address && address < end);
  const mapping = mappings[index];
  if (mapping === undefined || !mapping.perms.startsWith("rw")) return false;
  if (address - mapping.start < BigInt(room)) return false;
  const below = mappings[index - 1];
  const guarded = below !== undefined && below.end === mapping.start && below.perms.startsWith("---");
  return mapping.name === "[stack]" || guarded;
}

const PAGE = 4096n;
/** Bits of an entry of `/proc/PID/pagemap` (Documentation/admin-guide/mm/pagemap.rst), of its upper half. */
const PRESENT_OR_SWAPPED = 0xc000_0000;
const WRITE_PROTECTED_BY_USERFAULTFD = 1 << 25;

/** Whether all pages of a range of a thread's memory are there, in memory or swapped out, and userfaultfd(2) does not guard them. */
export function arePagesThere(thread: `${ProcessId}/task/${number}`, start: bigint, end: bigint): boolean {
  const first = start / PAGE;
  const entries = Buffer.alloc(Number((end - 1n) / PAGE - first + 1n) * 8);
  if (!readPagemap(thread, entries, first * 8n)) return false;
  for (let at = 4; at < entries.length; at += 8) {
    const entry = entries.readUInt32LE(at);
    if ((entry & PRESENT_OR_SWAPPED) === 0 || (entry & WRITE_PROTECTED_BY_USERFAULTFD) !== 0) return false;
  }
  return true;
}

function readPagemap(thread: string, entries: Buffer, from: bigint): boolean {
  try {
    const fd = openSync(`/proc/${thread}/pagemap`, "r");
    try {
      return readSync(fd, entries, 0, entries.length, from) === entries.length;
    } finally {
      closeSync(fd);
    }
  } catch {
    // The thread has ended.
    return false;
  }
}
