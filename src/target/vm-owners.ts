import { type DebugVm, debugVms } from "../sys/kvm-debugfs.ts";
import { listThreads, readNamespace } from "../sys/proc.ts";

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
  const named = new Map(vmFds.map((fd) => [fd, own.filter((vm) => vm.fd === fd)]));
  const rest = own.filter((vm) => !vmFds.includes(vm.fd));
  if (rest.length > 1 || [...named.values()].some((vms) => vms.length > 1)) return undefined;
  return new Map([...named].map(([fd, [vm = rest[0]!]]) => [fd, vm]));
}
