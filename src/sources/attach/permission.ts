import { readFileSync } from "node:fs";
import { printable } from "../../abi/printable.ts";
import { hasSeccomp, is32Bit, type ProcessStatus, readCommandLine, readStatus } from "../../os/proc.ts";

/** Whether this user may attach to a process; if not, why, and what would help. */
export type Permission =
  | { allowed: true }
  /** @property busy whether that is over in a moment, as when another kvm-irq is attached. */
  | { allowed: false; reason: string; hint: string; busy?: true };

/** Bits of CapEff (<linux/capability.h>). */
const CAP_SYS_PTRACE = 1n << 19n;
const CAP_SYS_ADMIN = 1n << 21n;

/** What decides whether one process may trace another, besides the two of them. */
export interface TracingRules {
  /** The status of this process. */
  self: ProcessStatus;
  /** `/proc/sys/kernel/yama/ptrace_scope`, 0 where Yama is not built in. */
  ptraceScope: number;
}

/** The process that is to be traced. */
export interface Traced {
  pid: number;
  status: ProcessStatus;
  is32Bit: boolean;
  /** Whether any of its threads has a seccomp filter. */
  seccomp: boolean;
}

/**
 * Whether this process may attach to another, as far as /proc tells. The kernel has the last word: a
 * security module may refuse what this allows.
 */
export function permissionToAttach(pid: number, status: ProcessStatus): Permission {
  const self = readStatus(process.pid);
  if (self === undefined) return refuse("/proc is not mounted", "mount it: `mount -t proc proc /proc`");
  return judge(
    { self, ptraceScope: readPtraceScope() },
    { pid, status, is32Bit: is32Bit(pid), seccomp: hasSeccomp(pid) },
  );
}

/** The rules of {@link permissionToAttach}, over what was read. */
export function judge(
  { self, ptraceScope }: TracingRules,
  { pid, status, is32Bit, seccomp }: Traced,
): Permission {
  const may = (capability: bigint) => (self.capEff & capability) !== 0n;
  if (pid === process.pid) return refuse("a process can't stop itself", "run it from another process");
  if (status.tracerPid !== 0) {
    return tracedBy(`process ${pid}`, status.tracerPid);
  }
  if (is32Bit) return refuse(`process ${pid} runs a 32-bit program`, "only 64-bit VMMs can be attached to");
  if (!may(CAP_SYS_PTRACE)) {
    const uid = self.uids[0];
    if (status.uids.slice(0, 3).some((other) => other !== uid)) {
      return refuse(`process ${pid} belongs to another user`, "run as that user or as root");
    }
    if (ptraceScope > 0) {
      return refuse(
        `this host's ptrace_scope is ${ptraceScope}: only ${ptraceScope === 1 ? "a parent" : "root"} may trace process ${pid}`,
        "run as root, or `sysctl kernel.yama.ptrace_scope=0`",
      );
    }
  }
  if (ptraceScope >= 3) {
    return refuse("this host's ptrace_scope is 3: nobody may trace", "that lasts until the next boot");
  }
  if (seccomp && !may(CAP_SYS_ADMIN)) {
    return refuse(
      `process ${pid} has a seccomp filter, which might kill it for our system calls`,
      "run as root: with CAP_SYS_ADMIN the filter is suspended meanwhile",
    );
  }
  return { allowed: true };
}

/** The refusal of a process, or of one of its threads, that somebody traces already. */
export function tracedBy(whom: string, tracerPid: number): Permission & { allowed: false } {
  const tracer = isKvmIrq(tracerPid)
    ? "another kvm-irq"
    : printable(readStatus(tracerPid)?.comm ?? "another process");
  return {
    ...refuse(
      `${whom} is already being traced by ${tracer} (pid ${tracerPid})`,
      "a thread has one tracer at a time: let that one detach first",
    ),
    ...(letsGoSoon(tracerPid) && { busy: true as const }),
  };
}

function isKvmIrq(pid: number): boolean {
  return readCommandLine(pid).some((argument) => /\bkvm-irq(\.js)?$/.test(argument));
}

/** Whether a tracer is gone in a moment: one of us, or a process that is ending, which has no arguments any more. */
export function letsGoSoon(tracer: number): boolean {
  return isKvmIrq(tracer) || readCommandLine(tracer).length === 0;
}

function refuse(reason: string, hint: string): { allowed: false; reason: string; hint: string } {
  return { allowed: false, reason, hint };
}

function readPtraceScope(): number {
  try {
    return Number(readFileSync("/proc/sys/kernel/yama/ptrace_scope", "utf8"));
  } catch {
    return 0;
  }
}
