import { errnoName } from "../../abi/errno.ts";
import { type ErrorOptions, KvmIrqError } from "../../abi/error.ts";
import { KvmError } from "../../kvm/kvm-error.ts";
import { readProcess, readStatus, readThread, readTracer } from "../../os/proc.ts";
import { isEnding } from "./address-space.ts";
import { gone, refused } from "./choose.ts";
import { judge, tracedBy } from "./permission.ts";
import type { VmProcess } from "./processes.ts";
import { PtraceError, StopTimeoutError, ThreadGoneError, UnexpectedCallError } from "./ptrace.ts";
import { sleepsInKvmRun } from "./vcpu-runs.ts";
import { otherHolders } from "./vm-owners.ts";

type FoundVm = Pick<VmProcess, "pid" | "vm_fd" | "vcpu_fds">;

/** Says of a failure what it means for somebody who wanted to see a VM. */
export function explainFailure({ pid, vm_fd, vcpu_fds }: FoundVm, error: unknown): unknown {
  const isSaid = error instanceof KvmIrqError && !(error instanceof KvmError);
  if (isSaid) return error;
  // What /proc no longer has is gone, though the pid may be another process's by now. And whatever an ending process
  // refuses, it refuses because of that.
  const { code } = error as NodeJS.ErrnoException;
  if (error instanceof ThreadGoneError || code === "ESRCH" || code === "ENOENT" || isEnding(pid)) {
    return gone(pid, error);
  }
  if (error instanceof KvmError) return explainKvmError({ pid, vm_fd }, error);
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
      `${error.message}: process ${pid} is changing its own code`,
      "it defends itself against debuggers; use its VMM's monitor",
      error,
    );
  }
  if (error instanceof PtraceError) return explainPtraceError({ pid, vcpu_fds }, error);
  return error;
}

function explainPtraceError(vm: Pick<FoundVm, "pid" | "vcpu_fds">, error: PtraceError): KvmIrqError {
  const { pid } = vm;
  const tracer = readTracer(readStatus(error.tid));
  if (tracer !== undefined && tracer.pid !== process.pid && error.tid !== pid) {
    const { reason, hint } = tracedBy(nameThread(vm, error.tid), tracer);
    return refused(pid, reason, hint, error);
  }
  const record = readProcess(pid);
  const permission = record && judge(record);
  if (permission?.allowed === false) return refused(pid, permission.reason, permission.hint, error);
  return refused(
    pid,
    `the kernel does not let this process trace process ${pid}: ${error.request} failed with ${errnoName(error.errno)}`,
    "run as root; in a container add `--cap-add SYS_PTRACE`; a security module may also forbid it",
    error,
  );
}

/** The vCPU whose thread it is, where it is seen in KVM_RUN. */
function nameThread({ pid, vcpu_fds }: Pick<FoundVm, "pid" | "vcpu_fds">, tid: number): string {
  const thread = readThread(pid, tid);
  const runFd = thread && sleepsInKvmRun(thread);
  const vcpu = vcpu_fds.find(({ fd }) => fd === runFd)?.vcpu;
  return vcpu === undefined ? `thread ${tid} of process ${pid}` : `vCPU ${vcpu}'s thread ${tid}`;
}

function explainKvmError({ pid, vm_fd }: Pick<FoundVm, "pid" | "vm_fd">, error: KvmError): KvmIrqError {
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
    return onlyACopy(pid, vm_fd, { details, cause: error });
  }
  return error;
}

/** The error for a process that was handed the descriptor of another's VM. */
export function onlyACopy(pid: number, vm_fd: number, options: ErrorOptions = {}): KvmIrqError {
  return new KvmIrqError(
    "no-vm",
    `process ${pid} only holds a copy of the descriptor: the VM belongs to another process`,
    { hint: hintAtMaker(otherHolders(pid, vm_fd)), ...options },
  );
}

function hintAtMaker(holders: readonly number[]): string {
  const options = holders.map((pid) => `\`--pid ${pid}\``);
  if (options.length === 1) return `use the process that made it: ${options[0]}`;
  if (options.length > 1) return `one of the processes that have it made it: try ${options.join(", ")}`;
  return "no other process has it any more: the one that made it has ended, or runs another program, and nobody can use the VM";
}
