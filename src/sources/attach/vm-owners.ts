import { setTimeout as sleep } from "node:timers/promises";
import { type DebugVm, debugVms } from "../../kvm/kvm-debugfs.ts";
import { distinctFiles, sameFile } from "../../os/kcmp.ts";
import { listPids, listThreads, readKvmFds, readNamespace, readStatus } from "../../os/proc.ts";
import { sleepsInKvmRun, userThreads } from "./vcpu-runs.ts";

/** A vCPU's number, and a descriptor of it. */
export interface VcpuFd {
  vcpu: number;
  fd: number;
}

/** Stops threads, each for a moment. @returns the vCPU descriptors of those that were in KVM_RUN. */
export type StopThreads = (tids: readonly number[]) => ReadonlyMap<number, number>;

/**
 * The VMs of a process as KVM's debugfs has them, by their descriptors.
 *
 * A folder there is named after the descriptor that the VM was made with, which may be a copy's or another VM's by
 * now. So they are only believed when there is one for each VM, and one with another number when it alone is left.
 *
 * @param vmFds one descriptor for each VM of the process.
 * @returns `undefined` where that does not tell.
 */
export function debugVmsOf(pid: number, vmFds: readonly number[]): Map<number, DebugVm> | undefined {
  const threads = new Set(listThreads(pid));
  const own = (debugVms(readNamespace("pid")) ?? []).filter(
    (vm) => threads.has(vm.creator) || [...vm.threads.values()].some((tid) => threads.has(tid)),
  );
  if (own.length !== vmFds.length) return undefined;
  const byFd = new Map(own.map((vm) => [vm.fd, vm]));
  const rest = own.filter(({ fd }) => !vmFds.includes(fd));
  if (rest.length > 1 || byFd.size !== own.length) return undefined;
  return new Map(vmFds.map((fd) => [fd, byFd.get(fd) ?? rest[0]!]));
}

/** How often threads are looked at until each was seen asleep in KVM_RUN, and the milliseconds between two looks. */
const LOOKS = 8;
const PAUSE_MS = 2;

/**
 * Which vCPUs belong to which VM of a process that has several. A descriptor does not tell; debugfs tells which
 * thread is whose, and a thread that sleeps in KVM_RUN with which descriptor. The last one left of a number needs
 * no thread.
 *
 * @param vcpuFds descriptors of vCPUs, by number.
 * @param stop tells the descriptors of threads that never sleep, by stopping them for a moment.
 * @returns `undefined` unless that tells it of all.
 */
export async function vcpusByVm(
  pid: number,
  vmFds: readonly number[],
  vcpuFds: readonly VcpuFd[],
  stop?: StopThreads,
): Promise<Map<number, VcpuFd[]> | undefined> {
  const vms = debugVmsOf(pid, vmFds);
  if (vms === undefined) return undefined;
  const numbers: SameNumber[] = [...new Set(vcpuFds.map(({ vcpu }) => vcpu))].map((vcpu) => ({
    vcpu,
    fds: distinctFiles(
      pid,
      vcpuFds.filter((one) => one.vcpu === vcpu).map(({ fd }) => fd),
    ),
    owners: [...vms].flatMap(([vm, { threads }]) =>
      threads.has(vcpu) ? [{ vm, tid: threads.get(vcpu) }] : [],
    ),
  }));
  if (numbers.some(({ fds, owners }) => fds.length !== owners.length)) return undefined;
  const byThread = new Map<number, number | undefined>();
  for (let look = 0; look <= LOOKS; look++) {
    if (look > 0) await sleep(PAUSE_MS * (0.5 + Math.random()));
    for (const thread of userThreads(pid)) {
      byThread.set(thread.tid, sleepsInKvmRun(thread) ?? byThread.get(thread.tid));
    }
    const found = assign(vmFds, numbers, byThread);
    if (found !== undefined) return found;
  }
  const awake = numbers.flatMap(({ owners }) =>
    owners.flatMap(({ tid = 0 }) => (byThread.has(tid) && byThread.get(tid) === undefined ? [tid] : [])),
  );
  if (stop === undefined || awake.length === 0) return undefined;
  return assign(vmFds, numbers, new Map([...byThread, ...stop(awake)]));
}

/** The descriptors of the vCPUs of one number, and the VMs that have one, with the thread that was last in KVM_RUN for it. */
interface SameNumber extends Pick<VcpuFd, "vcpu"> {
  fds: readonly number[];
  owners: readonly { vm: number; tid: number | undefined }[];
}

/** @returns `undefined` when a descriptor is left open. */
function assign(
  vmFds: readonly number[],
  numbers: readonly SameNumber[],
  byThread: ReadonlyMap<number, number | undefined>,
): Map<number, VcpuFd[]> | undefined {
  const found = new Map(vmFds.map((vm) => [vm, [] as VcpuFd[]]));
  for (const { vcpu, fds, owners } of numbers) {
    const known = owners.flatMap(({ vm, tid }) => {
      const fd = byThread.get(tid ?? 0);
      return fd !== undefined && fds.includes(fd) ? [{ vm, fd }] : [];
    });
    const left = fds.filter((fd) => !known.some((one) => one.fd === fd));
    const [last, ...others] = owners.filter(({ vm }) => !known.some((one) => one.vm === vm));
    if (others.length > 0 || left.length !== (last === undefined ? 0 : 1)) return undefined;
    if (last !== undefined) known.push({ vm: last.vm, fd: left[0]! });
    for (const { vm, fd } of known) found.get(vm)!.push({ vcpu, fd });
  }
  return found;
}

/**
 * Whether KVM knows a process by no VM: neither made nor run by a thread of it. Its descriptors are then copies.
 * `false` where debugfs does not tell.
 */
export function hasNoVmOfItsOwn(pid: number): boolean {
  const threads = new Set(listThreads(pid));
  const vms = debugVms(readNamespace("pid"));
  if (vms === undefined || vms.length === 0) return false;
  return !vms.some((vm) => [vm.creator, ...vm.threads.values()].some((tid) => threads.has(tid)));
}

/**
 * The other processes that have a VM, of which a process has a copy of the descriptor: one of them may have made
 * it. That one alone where KVM's debugfs tells which.
 */
export function otherHolders(pid: number, vmFd: number): number[] {
  const holders = listPids().filter(
    (other) =>
      other !== pid && readKvmFds(other)?.vms.some((fd) => sameFile({ pid, fd: vmFd }, { pid: other, fd })),
  );
  if (holders.length < 2) return holders;
  const creators = new Set(debugVms(readNamespace("pid"))?.map(({ creator }) => readStatus(creator)?.tgid));
  const makers = holders.filter((one) => creators.has(one));
  return makers.length === 1 ? makers : holders;
}
