import { readFileSync } from "node:fs";
import { printable } from "../../abi/printable.ts";
import { type ProcessRecord, type ProcessStatus, readStatus, type Tracer } from "../../os/proc.ts";

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
  /** The status of this process; `undefined` without /proc. */
  self: ProcessStatus | undefined;
  /** `/proc/sys/kernel/yama/ptrace_scope`, 0 where Yama is not built in. */
  ptraceScope: number;
}

/** The rules of this process on this host. */
export function tracingRules(): TracingRules {
  return { self: readStatus(process.pid), ptraceScope: readPtraceScope() };
}

/**
 * Whether this process may attach to another, as far as /proc tells. The kernel has the last word: a
 * security module may refuse what this allows.
 */
export function judge(
  { pid, status, is32Bit, seccomp, tracer }: Omit<ProcessRecord, "args" | "fds" | "isKernelThread">,
  { self, ptraceScope }: TracingRules = tracingRules(),
): Permission {
  if (self === undefined) return refuse("/proc is not mounted", "mount it: `mount -t proc proc /proc`");
  const may = (capability: bigint) => (self.capEff & capability) !== 0n;
  if (pid === process.pid) return refuse("a process can't stop itself", "run it from another process");
  if (tracer !== undefined) return tracedBy(`process ${pid}`, tracer);
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
      "run as root: with CAP_SYS_ADMIN the filter is suspended for that time",
    );
  }
  return { allowed: true };
}

/** The refusal of a process, or of one of its threads, that somebody traces already. */
export function tracedBy(whom: string, tracer: Tracer): Permission & { allowed: false } {
  const name = isKvmIrq(tracer) ? "another kvm-irq" : printable(tracer.comm ?? "another process");
  return {
    ...refuse(
      `${whom} is already being traced by ${name} (pid ${tracer.pid})`,
      "a thread has one tracer at a time: let that one detach first",
    ),
    ...(letsGoSoon(tracer) && { busy: true as const }),
  };
}

function isKvmIrq({ args }: Tracer): boolean {
  return args.some((argument) => /\bkvm-irq(\.js)?$/.test(argument));
}

/** Whether a tracer is gone in a moment: one of us, or a process that is ending, which has no arguments any more. */
export function letsGoSoon(tracer: Tracer): boolean {
  return isKvmIrq(tracer) || tracer.args.length === 0;
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
