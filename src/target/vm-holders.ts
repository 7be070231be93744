import { sameFile } from "../sys/kcmp.ts";
import { debugVms } from "../sys/kvm-debugfs.ts";
import { listPids, readKvmFds, readNamespace, readStatus } from "../sys/proc.ts";

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
