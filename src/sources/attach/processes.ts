import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { KvmIrqError } from "../../abi/error.ts";
import type { DebugVm } from "../../kvm/kvm-debugfs.ts";
import {
  isKernelThread,
  listPids,
  type ProcessRecord,
  readKvmFds,
  readProcess,
  readStatus,
} from "../../os/proc.ts";
import { HOLDER_PROGRAM } from "../session/protocol.ts";
import { judge, type Permission, tracingRules } from "./permission.ts";
import type { StopThreads, VcpuFd } from "./vm-owners.ts";

/** A VM inside a process of this host. */
export interface VmProcess {
  pid: number;
  /** The process's name, as ps(1) has it. */
  command: string;
  /** The arguments that it was started with. */
  args: string[];
  /** The guest's name, when the command line gives one. */
  name?: string;
  /** The descriptor of the VM: what `--vm-fd` takes. */
  vm_fd: number;
  /**
   * The number of vCPUs; `null` when the process has several VMs and it can't be told which vCPU is whose.
   */
  vcpus: number | null;
  /** The vCPUs' descriptors, by vCPU number; empty when they can't be told apart. */
  vcpu_fds: VcpuFd[];
  /** Whose process it is. */
  uid: number;
  user?: string;
  attachable: Permission;
  /** Whether it is the holder of a session of this program. */
  holder: boolean;
}

/** The VMs of this host, and how many processes this user may not look into: they may have more. */
export interface HostVms {
  vms: VmProcess[];
  unseen: number;
}

/**
 * Finds the VMs of this host: every process with descriptors that read `anon_inode:kvm-vm`.
 *
 * Only reads /proc, and stops nobody. Processes that end meanwhile, or whose descriptors this user may not
 * see, are left out.
 */
export async function findVms(): Promise<VmProcess[]> {
  return (await findHostVms()).vms;
}

/** The same, and how many processes were left out for want of permission. */
export async function findHostVms(): Promise<HostVms> {
  const users = readUsers();
  const rules = tracingRules();
  const vms: VmProcess[] = [];
  let unseen = 0;
  for (const pid of listPids()) {
    const fds = readKvmFds(pid);
    if (fds === undefined) unseen += isUnseen(pid) ? 1 : 0;
    const record = fds?.vms.length ? readProcess(pid, fds) : undefined;
    if (record !== undefined) vms.push(...(await vmsOf(record, { users, attachable: judge(record, rules) })));
  }
  return { vms, unseen };
}

/** Whether a process whose descriptors can't be read may have some: it is there, and no kernel thread. */
function isUnseen(pid: number): boolean {
  const state = readStatus(pid)?.state;
  return state !== undefined && state !== "Z" && !isKernelThread(pid);
}

/** The VMs of one process; none when it holds none, is gone or can't be looked into. */
export async function findVmsOf(pid: number): Promise<VmProcess[]> {
  const record = readProcess(pid);
  return record === undefined ? [] : vmsOf(record);
}

/**
 * The VMs of a process that was read.
 *
 * @param attachable what was judged of it, if it was. @param stop where threads of it may be stopped to tell apart the vCPUs of several VMs.
 */
export async function vmsOf(
  record: ProcessRecord,
  {
    users = readUsers(),
    attachable = judge(record),
    stop,
  }: { users?: ReadonlyMap<number, string>; attachable?: Permission; stop?: StopThreads } = {},
): Promise<VmProcess[]> {
  const { pid, status, args, fds } = record;
  if (fds === undefined) return [];
  const name = guestName(args);
  const uid = status.uids[0] ?? 0;
  const user = users.get(uid);
  const vms = await distinctVms(pid, fds.vms);
  const vcpus = await vcpusOf(pid, vms, fds.vcpus, stop);
  return vms.map((vm_fd) => ({
    pid,
    command: status.comm,
    args,
    ...(name === undefined ? {} : { name }),
    vm_fd,
    vcpus: vcpus?.get(vm_fd)?.length ?? null,
    vcpu_fds: vcpus?.get(vm_fd) ?? [],
    uid,
    ...(user === undefined ? {} : { user }),
    attachable,
    holder: args.some((argument) => argument.includes(HOLDER_PROGRAM)),
  }));
}

/** Which vCPUs belong to which VM; `undefined` where that can't be told. */
async function vcpusOf(
  pid: number,
  vms: readonly number[],
  vcpus: readonly VcpuFd[],
  stop: StopThreads | undefined,
): Promise<Map<number, VcpuFd[]> | undefined> {
  if (vms.length === 1) return new Map([[vms[0]!, vcpus.filter(isFirstOfItsNumber)]]);
  return (await import("./vm-owners.ts")).vcpusByVm(pid, vms, vcpus, stop);
}

/** In a process with one VM, two descriptors of the same vCPU are one vCPU. */
function isFirstOfItsNumber({ vcpu }: VcpuFd, index: number, all: readonly VcpuFd[]): boolean {
  return all.findIndex((other) => other.vcpu === vcpu) === index;
}

/** One descriptor for each VM: some VMMs hold copies. */
async function distinctVms(pid: number, fds: readonly number[]): Promise<number[]> {
  if (fds.length < 2) return [...fds];
  return (await import("../../os/kcmp.ts")).distinctFiles(pid, fds);
}

/** What KVM's debugfs shows of a VM; `undefined` where it can't be told which of those there it is. */
export async function debugVmOf(pid: number, vmFd: number): Promise<DebugVm | undefined> {
  const { debugVmsOf } = await import("./vm-owners.ts");
  const vmFds = await distinctVms(pid, readKvmFds(pid)?.vms ?? []);
  return debugVmsOf(pid, vmFds)?.get(vmFd);
}

/**
 * The guest's name in a VMM's arguments: `-name foo` or `-name guest=foo,...` (QEMU), `--id foo`
 * (Firecracker), `--name foo` (crosvm, kvmtool).
 */
export function guestName(args: readonly string[]): string | undefined {
  for (const [index, argument] of args.entries()) {
    const [, option, inline] = /^--?(name|id)(?:=(.*))?$/s.exec(argument) ?? [];
    if (option === undefined || index === 0) continue;
    const value = inline ?? args[index + 1];
    if (value === undefined || value === "") continue;
    // QEMU doubles a comma that belongs to the name.
    const parts = value.split(/(?<!,),(?!,)/).map((part) => part.replaceAll(",,", ","));
    const guest = parts.find((part) => part.startsWith("guest="))?.slice("guest=".length);
    return guest ?? parts.find((part) => !part.includes("=")) ?? undefined;
  }
  return undefined;
}

/** How messages name the program of a process: its file's name, else its command name. */
export function programName({ args, command }: Pick<VmProcess, "args" | "command">): string {
  return args[0] === undefined ? command : basename(args[0]);
}

/** The users of /etc/passwd by number. Users of a directory service go by number alone. */
function readUsers(): Map<number, string> {
  const users = new Map<number, string>();
  try {
    for (const line of readFileSync("/etc/passwd", "utf8").split("\n")) {
      const [name, , uid] = line.split(":");
      if (name && uid && !users.has(Number(uid))) users.set(Number(uid), name);
    }
  } catch {
    // Without the file there are no names.
  }
  return users;
}

/**
 * Throws unless a number is the pid of a process.
 *
 * @param status what /proc has of that number.
 * @throws KvmIrqError `no-process` when there is none, naming the process when it is a thread's id, or a pid of
 *   another pid namespace, as seen inside a container.
 */
export function processNamed(pid: number, status = readStatus(pid)): void {
  if (status === undefined) throw noProcess(pid, `there is no process ${pid}`, elsewhere(pid));
  if (status.tgid === pid) return;
  throw noProcess(pid, `${pid} is a thread of process ${status.tgid}`, `use \`--pid ${status.tgid}\``);
}

/** What helps with a pid that has no VM here: the one by which we know a process that another namespace has it of. */
export function elsewhere(pid: number): string {
  const inside = listPids().filter((other) => {
    const { nsPids = [] } = readStatus(other) ?? {};
    return nsPids.length > 1 && nsPids.at(-1) === pid && (readKvmFds(other)?.vms.length ?? 0) > 0;
  });
  if (inside.length === 0) return "`kvm-irq list` shows the VMs of this host";
  return `a process of another pid namespace, which is ${pid} there, is ${inside.map((one) => `\`--pid ${one}\``).join(" or ")} here`;
}

function noProcess(pid: number, message: string, hint: string): KvmIrqError {
  return new KvmIrqError("no-process", message, { hint, details: { pid } });
}
