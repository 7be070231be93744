import { closeSync, constants, existsSync, openSync, readSync } from "node:fs";
import { listFolder, readLink, readText } from "./files.ts";

/**
 * What /proc says of processes (proc(5)). Whatever can't be read, because the process is gone or is
 * another user's, is `undefined`: on a running system both happen at any time.
 */

/** A process by its number, or by its folder in /proc that this process holds open: see {@link HeldProcess}. */
export type ProcessId = number | "self" | `self/fd/${number}`;
/** A process, or one of its threads by its folder there. */
export type ThreadId = ProcessId | `${ProcessId}/task/${number}`;

/**
 * A process's folder in /proc, held open. A process that gets the same pid later is not seen through it: once
 * the process has ended there is nothing in the folder.
 */
export class HeldProcess {
  /** What the functions here take for a process. */
  readonly id: ProcessId;
  readonly #fd: number;
  #open = true;

  /** @throws the error of the open, ENOENT when there is no such process. */
  constructor(pid: number) {
    this.#fd = openSync(`/proc/${pid}`, constants.O_RDONLY | constants.O_DIRECTORY);
    this.id = `self/fd/${this.#fd}`;
  }

  /** May be called again. */
  close(): void {
    if (this.#open) closeSync(this.#fd);
    this.#open = false;
  }
}

/** `/proc/PID/status`, as far as attaching asks for it. */
export interface ProcessStatus {
  comm: string;
  /** One letter: R, S, D, T (stopped), t (traced), Z. */
  state: string;
  /** The process that a thread belongs to. */
  tgid: number;
  ppid: number;
  tracerPid: number;
  /** Real, effective, saved and file-system user. */
  uids: number[];
  /** Of this one thread: 0 none, 1 strict, 2 a filter. */
  seccomp: number;
  /** Effective capabilities, a bit each. */
  capEff: bigint;
  /** The pid in each pid namespace, ours first. */
  nsPids: number[];
  /** Whether user shadow stacks (CET) are on. */
  shadowStack: boolean;
}

/** Reads `/proc/PID/status`. */
export function readStatus(pid: ThreadId): ProcessStatus | undefined {
  const text = readText(`/proc/${pid}/status`);
  if (text === undefined) return undefined;
  const field = (name: string) => new RegExp(`^${name}:\\s*(.*)$`, "m").exec(text)?.[1] ?? "";
  const numbers = (name: string) => field(name).split(/\s+/).filter(Boolean).map(Number);
  return {
    comm: field("Name"),
    state: field("State").charAt(0),
    tgid: Number(field("Tgid")),
    ppid: Number(field("PPid")),
    tracerPid: Number(field("TracerPid")),
    uids: numbers("Uid"),
    seccomp: Number(field("Seccomp")),
    capEff: BigInt(`0x${field("CapEff") || "0"}`),
    nsPids: numbers("NSpid"),
    shadowStack: /\bshstk\b/.test(field("x86_Thread_features")),
  };
}

/**
 * The thread of a process that has its memory and files: the main thread, unless it has ended and others go on
 * (pthread_exit(3)).
 *
 * @returns `undefined` for the main thread, also when no other one is there.
 */
export function otherThread(pid: ProcessId): number | undefined {
  if (readStat(`/proc/${pid}/stat`)?.state !== "Z") return undefined;
  return listThreads(pid)?.find((tid) => {
    const thread = readThread(pid, tid);
    return thread !== undefined && !thread.worker && !"ZX".includes(thread.state);
  });
}

/** The process by the thread that has its memory and files. */
export function withMemory(pid: ProcessId): ThreadId {
  const tid = otherThread(pid);
  return tid === undefined ? pid : `${pid}/task/${tid}`;
}

/**
 * When a process or thread was started, in hundredths of a second since this host's boot, or where the time namespace
 * has it; `undefined` when it is gone.
 */
export function readStartTime(pid: ThreadId): number | undefined {
  return readStat(`/proc/${pid}/stat`)?.startTime;
}

/** What `/proc/self/ns/NAME` links to: `pid:[4026531836]` in the first pid namespace. */
export function readNamespace(name: string): string | undefined {
  return readLink(`/proc/self/ns/${name}`);
}

/** The arguments that a process was started with; none for a kernel thread or a zombie. */
function readCommandLine(pid: number): string[] {
  const text = readText(`/proc/${withMemory(pid)}/cmdline`) ?? "";
  // Behind a title that a program gave itself, the rest of the room is zero.
  const line = text.replace(/\0+$/, "");
  return line === "" ? [] : line.split("\0");
}

/** PF_ flags of <linux/sched.h>, in the ninth field of `/proc/PID/stat`. */
const PF_KTHREAD = 0x0020_0000;
/** Threads that the kernel itself runs inside a process: io_uring's workers, vhost's, KVM's own. */
const PF_IO_WORKER = 0x10;
const PF_USER_WORKER = 0x4000;

/** A process as /proc shows it, read once. */
export interface ProcessRecord {
  pid: number;
  status: ProcessStatus;
  /** Whether it is a kernel thread, which has no memory, no files and can't be traced. */
  isKernelThread: boolean;
  args: string[];
  /** Its KVM descriptors; `undefined` when this user may not see them. */
  fds: KvmFds | undefined;
  /** Whether it runs a 32-bit program. */
  is32Bit: boolean;
  /** Whether any of its threads has a seccomp filter: each may have its own. */
  seccomp: boolean;
  /** Who traces it. */
  tracer: Tracer | undefined;
}

/** Who traces a thread. */
export interface Tracer {
  pid: number;
  /** Absent when it is gone. */
  comm?: string | undefined;
  args: readonly string[];
}

/** Reads what there is of a process; `undefined` when it is gone. @param fds its descriptors, where they were read. */
export function readProcess(pid: number, fds = readKvmFds(pid)): ProcessRecord | undefined {
  const status = readStatus(pid);
  if (status === undefined) return undefined;
  return {
    pid,
    status,
    isKernelThread: isKernelThread(pid),
    args: readCommandLine(pid),
    fds,
    is32Bit: is32Bit(pid),
    seccomp: hasSeccomp(pid),
    tracer: readTracer(status),
  };
}

/** Who traces a process or thread of that status; nobody when not given. */
export function readTracer(status: ProcessStatus | undefined): Tracer | undefined {
  const pid = status?.tracerPid ?? 0;
  if (pid === 0) return undefined;
  return { pid, comm: readStatus(pid)?.comm, args: readCommandLine(pid) };
}

/** Whether a process is a kernel thread. */
export function isKernelThread(pid: number): boolean {
  return ((readStat(`/proc/${pid}/stat`)?.flags ?? 0) & PF_KTHREAD) !== 0;
}

/** All processes. */
export function listPids(): number[] {
  return listNumbers("/proc") ?? [];
}

/** The threads of a process, oldest first; `undefined` when it is gone. */
export function listThreads(pid: ProcessId): number[] | undefined {
  return listNumbers(`/proc/${pid}/task`);
}

/** Whether a thread is one of a process, and has not ended. */
export function hasThread(pid: ProcessId, tid: number): boolean {
  return existsSync(`/proc/${pid}/task/${tid}`);
}

function hasSeccomp(pid: number): boolean {
  return (listThreads(pid) ?? []).some((tid) => (readStatus(tid)?.seccomp ?? 0) !== 0);
}

/** The KVM descriptors that a process holds. */
export interface KvmFds {
  /** Descriptors of VMs. */
  vms: number[];
  /** Descriptors of vCPUs, with the vCPU's number. */
  vcpus: { vcpu: number; fd: number }[];
}

/** Reads `/proc/PID/fd`; `undefined` when this user may not, or the process is gone. */
export function readKvmFds(pid: ProcessId): KvmFds | undefined {
  const owner = withMemory(pid);
  const fds = listNumbers(`/proc/${owner}/fd`);
  if (fds === undefined) return undefined;
  const found: KvmFds = { vms: [], vcpus: [] };
  for (const fd of fds) {
    const kvm = readKvmFd(owner, fd);
    if (kvm === "vm") found.vms.push(fd);
    else if (kvm !== undefined) found.vcpus.push({ vcpu: kvm, fd });
  }
  found.vcpus.sort((a, b) => a.vcpu - b.vcpu || a.fd - b.fd);
  return found;
}

/** Whether a descriptor is a VM, or a vCPU and which; `undefined` for others. */
export function readKvmFd(folder: ThreadId, fd: number): "vm" | number | undefined {
  const link = readLink(`/proc/${folder}/fd/${fd}`) ?? "";
  const [, kind, vcpu] = /^anon_inode:kvm-(vm|vcpu:(\d+))$/.exec(link) ?? [];
  return kind === undefined || kind === "vm" ? kind : Number(vcpu);
}

/** Whether a process has a userfaultfd(2) open. */
export function hasUserfaultfd(pid: ProcessId): boolean {
  const owner = withMemory(pid);
  const fds = listNumbers(`/proc/${owner}/fd`) ?? [];
  return fds.some((fd) => readLink(`/proc/${owner}/fd/${fd}`) === "anon_inode:[userfaultfd]");
}

/** EI_CLASS of <elf.h>, and its value for 32-bit files (x32's too). */
const EI_CLASS = 4;
const ELFCLASS32 = 1;

function is32Bit(pid: number): boolean {
  try {
    const fd = openSync(`/proc/${withMemory(pid)}/exe`, "r");
    try {
      const head = Buffer.alloc(EI_CLASS + 1);
      return readSync(fd, head) === head.length && head[EI_CLASS] === ELFCLASS32;
    } finally {
      closeSync(fd);
    }
  } catch {
    return false;
  }
}

/** What a thread is doing. */
export interface ThreadState {
  tid: number;
  /** The main thread of its process, and the process's number. */
  leader: number;
  comm: string;
  state: string;
  /** Whether it belongs to the kernel: it never runs user code, and can't be stopped. */
  worker: boolean;
  /** Whether it has a seccomp filter. */
  filtered: boolean;
  /**
   * The system call that it sleeps in, with the low 32 bits of its arguments, and its stack pointer; `undefined`
   * while it runs.
   */
  syscall: { number: number; arguments: readonly number[]; stackPointer: bigint } | undefined;
}

/** Reads `stat`, `status` and `syscall` of `/proc/PID/task/TID`; `undefined` when the thread is gone. */
export function readThread(pid: ProcessId, tid: number): ThreadState | undefined {
  const folder = `/proc/${pid}/task/${tid}`;
  const stat = readStat(`${folder}/stat`);
  if (stat === undefined) return undefined;
  const worker = (stat.flags & (PF_IO_WORKER | PF_USER_WORKER)) !== 0;
  const status = readText(`${folder}/status`) ?? "";
  const filtered = /^Seccomp:\s*[12]$/m.test(status);
  const leader = Number(/^Tgid:\s*(\d+)$/m.exec(status)?.[1] ?? tid);
  const syscall = parseSyscall(readText(`${folder}/syscall`) ?? "");
  return { tid, leader, comm: stat.comm, state: stat.state, worker, filtered, syscall };
}

/** Parses `number, six arguments, stack pointer, instruction pointer`; "running" and -1 are no system call. */
function parseSyscall(text: string): ThreadState["syscall"] {
  const [number, ...words] = text.trim().split(" ");
  if (words.length !== 8 || Number(number) < 0) return undefined;
  const values = words.map(BigInt);
  return {
    number: Number(number),
    arguments: values.slice(0, 6).map((value) => Number(BigInt.asUintN(32, value))),
    stackPointer: values[6]!,
  };
}

/** `/proc/PID/task/TID/schedstat`: changes whenever the thread has run. `undefined` where it is not there. */
export function readSchedstat(pid: number, tid: number): string | undefined {
  return readText(`/proc/${pid}/task/${tid}/schedstat`);
}

/**
 * Whether this process's group is not the one that its terminal listens to: started by `timeout` in a script,
 * or by a shell with `&`. There a change of the terminal's modes, or a read, stops it (SIGTTOU, SIGTTIN: termios(3)).
 */
export function inBackground(): boolean {
  const { group, foreground } = readStat("/proc/self/stat") ?? {};
  // -1: this process has no controlling terminal, and no terminal stops it.
  return foreground !== group && foreground !== -1;
}

/** What `/proc/PID/stat` says, by its path; `undefined` when that process or thread is gone. */
export function readStat(path: string) {
  // The command name, in parentheses, may itself hold spaces and parentheses.
  const [, comm, state, numbers] = /^\d+ \((.*)\) (\w) (.*)/s.exec(readText(path) ?? "") ?? [];
  if (comm === undefined || state === undefined || numbers === undefined) return undefined;
  const fields = numbers.split(" ").map(Number);
  const [, group, , , foreground, flags] = fields;
  return { comm, state, group, foreground, flags: flags!, startTime: fields[18] };
}

function listNumbers(folder: string): number[] | undefined {
  return listFolder(folder)
    ?.map(Number)
    .filter(Number.isInteger)
    .sort((a, b) => a - b);
}
