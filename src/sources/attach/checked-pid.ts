import { KvmIrqError } from "../../abi/error.ts";
import { listPids, type ProcessStatus, readKvmFds, readStatus } from "../../os/proc.ts";

/**
 * The status of the process that a number is the pid of.
 *
 * @throws KvmIrqError `no-process` when there is none, naming the process when it is a thread's id, or a pid of
 *   another pid namespace, as seen inside a container.
 */
export function processNamed(pid: number): ProcessStatus {
  const status = readStatus(pid);
  if (status === undefined) throw noProcess(pid, `there is no process ${pid}`, elsewhere(pid));
  if (status.tgid === pid) return status;
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
