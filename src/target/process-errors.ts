import { errnoName } from "../abi/errno.ts";
import { KvmIrqError } from "../abi/error.ts";
import { isEnding } from "../sys/address-space.ts";
import { KvmError } from "../sys/kvm-error.ts";
import { readStatus } from "../sys/proc.ts";
import { PtraceError, StopTimeoutError, ThreadGoneError, UnexpectedCallError } from "../sys/ptrace.ts";
import { permissionToAttach } from "./permission.ts";

/** Says of a failure what it means for somebody who wanted to see a VM. */
export function explainFailure(pid: number, error: unknown): unknown {
  const isSaid = error instanceof KvmIrqError && !(error instanceof KvmError);
  if (isSaid) return error;
  // Whatever an ending process refuses, it refuses because of that.
  if (error instanceof ThreadGoneError || isEnding(pid)) return gone(pid, error);
  if (error instanceof KvmError) return explainKvmError(pid, error);
  if (error instanceof StopTimeoutError) {
    return refused(
      pid,
      `process ${pid} did not stop in time, and was let go`,
      "try again when it is less busy",
      error,
    );
  }
  if (error instanceof UnexpectedCallError) {
    return refused(
      pid,
      `${error.message}: process ${pid} changes its own code meanwhile`,
      "it defends itself against debuggers; use its VMM's monitor",
      error,
    );
  }
  if (error instanceof PtraceError) return explainPtraceError(pid, error);
  return error;
}

function explainPtraceError(pid: number, error: PtraceError): KvmIrqError {
  const status = readStatus(pid);
  const permission = status === undefined ? undefined : permissionToAttach(pid, status);
  if (permission?.allowed === false) return refused(pid, permission.reason, permission.hint, error);
  return refused(
    pid,
    `the kernel does not let this process trace process ${pid}: ${error.request} failed with ${errnoName(error.errno)}`,
    "run as root; in a container add `--cap-add SYS_PTRACE`; a security module may also forbid it",
    error,
  );
}

function explainKvmError(pid: number, error: KvmError): KvmIrqError {
  const { ioctl, errno } = error;
  const name = errnoName(errno);
  const details = { ...error.details, pid };
  if (name === "ENXIO") {
    return new KvmIrqError(
      "kernel-refused",
      `the VM of process ${pid} has no PIC and IOAPIC in the kernel: ${ioctl} failed with ${name}`,
      {
        hint: "its VMM emulates them itself, as QEMU does with `kernel-irqchip=off` or `split`: ask its monitor",
        details,
        cause: error,
      },
    );
  }
  if (name === "EINVAL" && (ioctl === "KVM_GET_LAPIC" || ioctl === "KVM_SET_LAPIC")) {
    return new KvmIrqError(
      "kernel-refused",
      `the VM of process ${pid} has no local APIC in the kernel, or refuses this state: ${ioctl} failed with ${name}`,
      {
        hint: "its VMM may emulate it, as QEMU does with `kernel-irqchip=off`: ask its monitor",
        details,
        cause: error,
      },
    );
  }
  if (name === "EIO") {
    const parent = readStatus(pid)?.ppid;
    return new KvmIrqError(
      "no-vm",
      `process ${pid} only holds a copy of the descriptor: the VM belongs to another process`,
      {
        hint:
          parent === undefined
            ? "`kvm-irq list` shows who else has a VM"
            : `perhaps its parent's: \`--pid ${parent}\``,
        details,
        cause: error,
      },
    );
  }
  return error;
}

/** The error for a process that may not be attached to. */
export function refused(pid: number, message: string, hint: string, cause?: unknown): KvmIrqError {
  return new KvmIrqError("attach-refused", message, { hint, details: { pid }, cause });
}

/** The error for a process without the VM that was asked for. */
export function noVm(pid: number, message: string): KvmIrqError {
  return new KvmIrqError("no-vm", message, {
    hint: "`kvm-irq list` shows the VMs of this host",
    details: { pid },
  });
}

/** The error for a process that ended. */
export function gone(pid: number, cause?: unknown): KvmIrqError {
  return new KvmIrqError("no-process", `process ${pid} ended meanwhile`, {
    hint: "`kvm-irq list` shows the VMs of this host",
    details: { pid },
    cause,
  });
}
