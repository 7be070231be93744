import { debugVms } from "../../kvm/kvm-debugfs.ts";
import { sameFile } from "../../os/kcmp.ts";
import { listPids, listThreads, readKvmFds, readNamespace, readStatus } from "../../os/proc.ts";

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
