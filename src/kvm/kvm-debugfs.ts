import { listFolder, readText } from "../os/files.ts";
import { mountDetached } from "../os/mount.ts";

/** A VM as KVM's debugfs shows it: `kvm/TID-FD`, by the thread that made it and the descriptor it got. */
export interface DebugVm {
  creator: number;
  fd: number;
  /** By vCPU number the thread that was last in KVM_RUN for it, 0 before the first time. */
  threads: ReadonlyMap<number, number>;
}

/** The inode of the first pid namespace (PROC_PID_INIT_INO of <linux/proc_ns.h>): debugfs counts in its numbers. */
const FIRST_PID_NAMESPACE = "pid:[4026531836]";
const MOUNTED = "/sys/kernel/debug";

/**
 * The VMs of this host by KVM's debugfs, which tells since Linux 5.19 what thread runs which vCPU
 * (`vcpuN/pid`, virt/kvm/kvm_main.c and arch/x86/kvm/debugfs.c). Where it is not mounted it is mounted for this
 * process alone.
 *
 * @param selfNamespace what `/proc/self/ns/pid` links to.
 * @returns `undefined` where it can't be read, takes no vCPU's thread to it, or has other pids than ours.
 */
export function debugVms(selfNamespace: string | undefined): DebugVm[] | undefined {
  if (selfNamespace !== FIRST_PID_NAMESPACE) return undefined;
  const folder = kvmFolder();
  if (folder === undefined) return undefined;
  return (listFolder(folder) ?? []).flatMap((name) => {
    const [, creator, fd] = /^(\d+)-(\d+)$/.exec(name) ?? [];
    if (creator === undefined) return [];
    const threads = vcpuThreads(`${folder}/${name}`);
    return threads === undefined ? [] : [{ creator: Number(creator), fd: Number(fd), threads }];
  });
}

/** @returns `undefined` for a VM that ended meanwhile, and where a vCPU has no `pid`. */
function vcpuThreads(folder: string): Map<number, number> | undefined {
  const threads = new Map<number, number>();
  for (const name of listFolder(folder) ?? []) {
    const [, vcpu] = /^vcpu(\d+)$/.exec(name) ?? [];
    if (vcpu === undefined) continue;
    const tid = readText(`${folder}/${name}/pid`);
    if (tid === undefined) return undefined;
    threads.set(Number(vcpu), Number(tid));
  }
  return threads;
}

let mounted: number | undefined;

/** The folder stays open as long as this process, which nobody else sees. */
function kvmFolder(): string | undefined {
  if (listFolder(`${MOUNTED}/kvm`) !== undefined) return `${MOUNTED}/kvm`;
  if (mounted === undefined) {
    const mount = mountDetached("debugfs");
    if (!("fd" in mount)) return undefined;
    mounted = mount.fd;
  }
  return `/proc/self/fd/${mounted}/kvm`;
}
