import { KvmIrqError } from "../../abi/error.ts";
import { printable } from "../../abi/printable.ts";
import { sameFile } from "../../os/kcmp.ts";
import { HeldProcess, type ProcessRecord } from "../../os/proc.ts";
import { type Identity, thisHost } from "../../vm/reading.ts";
import type { KernelIrqchip } from "../../vm/snapshot.ts";
import { elsewhere, processNamed, programName, type VmProcess } from "./processes.ts";

/** Which VM a pid and a descriptor name, whatever way it is going to be looked at. */

/** A process, from now on and no other with its pid. @throws KvmIrqError `no-process`. */
export function holdProcess(pid: number): HeldProcess {
  try {
    return new HeldProcess(pid);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    processNamed(pid);
    throw gone(pid);
  }
}

/** Throws unless it is a process that may have VMs. @throws KvmIrqError `no-process`, `no-vm`. */
export function checkProcess(
  pid: number,
  record: ProcessRecord | undefined,
): asserts record is ProcessRecord {
  processNamed(pid, record?.status);
  if (record === undefined) throw gone(pid);
  if (record.isKernelThread) throw noVm(pid, `process ${pid} is a thread of the kernel and has no VM`);
}

/** The one of a process's VMs that is meant. @throws KvmIrqError `no-vm`; `usage` when there are several. */
export function chooseVm(pid: number, vmFd: number | undefined, vms: readonly VmProcess[]): VmProcess {
  const [first, ...others] = vms;
  if (first === undefined) throw noVm(pid, `process ${pid} has no VM`, elsewhere(pid));
  const fds = vms.map(({ vm_fd }) => vm_fd);
  if (vmFd !== undefined) {
    const chosen = vms.find(({ vm_fd }) => vm_fd === vmFd || sameFile({ pid, fd: vm_fd }, { pid, fd: vmFd }));
    if (chosen !== undefined) return chosen;
    throw new KvmIrqError("no-vm", `descriptor ${vmFd} of process ${pid} is not a VM`, {
      hint: `its VMs are the descriptors ${fds.join(", ")}`,
      details: { pid, vm_fds: fds },
    });
  }
  if (others.length === 0) return first;
  throw new KvmIrqError("usage", `process ${pid} has ${vms.length} VMs: descriptors ${fds.join(", ")}`, {
    hint: `choose one, as with \`--vm-fd ${first.vm_fd}\``,
    details: { pid, vm_fds: fds },
  });
}

/** What the identity of a process's VM says, whatever way it is looked at. @param unsure what is not known of it. */
export function identityOfVm(
  vm: VmProcess,
  via: "kernel" | "ptrace",
  { irqchip, unsure = {} }: { irqchip: KernelIrqchip | undefined; unsure?: { vcpus?: null } },
): Pick<Identity, "source" | "host" | "irqchip" | "holder" | "label"> {
  const { pid, vm_fd, name, holder } = vm;
  const command = programName(vm);
  return {
    source: { kind: "process", backend: "kvm", pid, vm_fd, command, ...(name && { name }), ...unsure, via },
    host: thisHost(),
    ...(irqchip && { irqchip }),
    ...(holder && { holder }),
    label: printable(`pid ${pid} (${command}${name === undefined ? "" : `, guest '${name}'`})`),
  };
}

/** The error for a process that may not be attached to. */
export function refused(pid: number, message: string, hint: string, cause?: unknown): KvmIrqError {
  return new KvmIrqError("attach-refused", message, { hint, details: { pid }, cause });
}

/** The error for a process without the VM that was asked for. */
export function noVm(
  pid: number,
  message: string,
  hint = "`kvm-irq list` shows the VMs of this host",
): KvmIrqError {
  return new KvmIrqError("no-vm", message, {
    hint,
    details: { pid },
  });
}

/** The error for a process that ended. */
export function gone(pid: number, cause?: unknown): KvmIrqError {
  return new KvmIrqError("no-process", `process ${pid} has exited`, {
    hint: "`kvm-irq list` shows the VMs of this host",
    details: { pid },
    cause,
  });
}

/** The error for a process whose descriptors this user may not see. */
export function unseen(pid: number): KvmIrqError {
  return refused(pid, `process ${pid} can't be looked into`, "run as root");
}
