import { setTimeout as sleep } from "node:timers/promises";
import { IOCTL } from "../../abi/ioctl.ts";
import { HOST_THREADS } from "../../arch/arches.ts";
import { listThreads, type ProcessId, readSchedstat, readThread, type ThreadState } from "../../os/proc.ts";
import type { KernelIrqchip } from "../../vm/snapshot.ts";

const { NR } = HOST_THREADS;

/** Whether a system call is KVM_RUN. */
export function isKvmRun(syscall: number, request: number | undefined): boolean {
  return syscall === NR.ioctl && request === IOCTL.KVM_RUN;
}

/** The vCPU fd that a thread sleeps in KVM_RUN for. */
export function sleepsInKvmRun({ syscall }: ThreadState): number | undefined {
  if (syscall === undefined) return undefined;
  return isKvmRun(syscall.number, syscall.arguments[1]) ? syscall.arguments[0] : undefined;
}

/** The living threads of a process that run its code. */
export function userThreads(pid: ProcessId): ThreadState[] {
  const threads = (listThreads(pid) ?? []).flatMap((tid) => readThread(pid, tid) ?? []);
  return threads.filter(({ state, worker }) => !worker && !"ZX".includes(state));
}

/** A vCPU that no thread was seen in KVM_RUN for. */
export interface IdleVcpu {
  vcpu: number;
  fd: number;
  /** The thread that was last in KVM_RUN for it, 0 for none ever; `undefined` where that is not known. */
  tid: number | undefined;
}

/** How often threads are looked at, and the milliseconds between two looks: together some 20 ms. */
const LOOKS = 8;
const PAUSE_MS = 2.5;

/** poll, select, epoll_wait, pselect6, ppoll, epoll_pwait, epoll_pwait2: nobody waits there while it handles an exit. */
const NR_POLLS: ReadonlySet<number> = new Set([7, 23, 232, 270, 271, 281, 441]);

/** What was seen of a thread, in how many looks. */
interface Seen {
  /** Awake, or waiting for a disk. */
  awake: number;
  /** Had run since the look before. */
  ran: number;
  schedstat: string | undefined;
}

/**
 * Tells vCPUs whose threads are at work on an exit from those that nobody runs, by looking at the threads several
 * times without stopping them. A thread that waits for the VM to go on does not run at all; one at work is awake
 * again and again, or enters KVM_RUN. Without a local APIC in the kernel HLT ends KVM_RUN (arch/x86/kvm/x86.c,
 * __kvm_emulate_halt), and a vCPU that is halted looks like a paused one: there only one that never ran is told.
 *
 * @param busy threads that are known to run another vCPU.
 * @param irqchip which controllers are in the kernel, where that is known.
 * @returns by vCPU number true when a thread was in KVM_RUN for it or at work, false when all that might have been
 *   slept elsewhere; nothing of those about which neither can be said.
 */
export async function watchIdle(
  pid: number,
  idle: readonly IdleVcpu[],
  { busy, irqchip }: { busy: ReadonlySet<number>; irqchip: KernelIrqchip | undefined },
): Promise<Map<number, boolean>> {
  const runs = new Map(idle.filter(({ tid }) => tid === 0).map(({ vcpu }) => [vcpu, false]));
  const seen = new Map<number, Seen>();
  for (let look = 0; look < LOOKS && runs.size < idle.length; look++) {
    await sleep(PAUSE_MS * (0.5 + Math.random()));
    const threads = userThreads(pid);
    if (threads.length === 0) return new Map();
    for (const thread of threads) {
      const run = runBy(thread, idle);
      if (run !== undefined) runs.set(run.vcpu, true);
      note(seen, thread, readSchedstat(pid, thread.tid));
    }
  }
  const others = [...seen].filter(([tid]) => !busy.has(tid)).map(([, one]) => one);
  for (const { vcpu, tid } of idle) {
    if (runs.has(vcpu)) continue;
    const own = tid === undefined ? undefined : seen.get(tid);
    if (own !== undefined && own.awake >= LOOKS / 2) runs.set(vcpu, true);
    else if (irqchip !== "none" && (own === undefined ? others : [own]).every(isAsleep))
      runs.set(vcpu, false);
  }
  return runs;
}

/** Once is none: when it was let go, it went back to sleep. */
function isAsleep({ awake, ran }: Seen): boolean {
  return awake <= 1 && ran <= 1;
}

function note(
  seen: Map<number, Seen>,
  { tid, state, syscall }: ThreadState,
  schedstat: string | undefined,
): void {
  const { awake, ran, schedstat: last } = seen.get(tid) ?? { awake: 0, ran: 0, schedstat };
  const polls = syscall !== undefined && NR_POLLS.has(syscall.number);
  seen.set(tid, {
    awake: awake + ("RD".includes(state) ? 1 : 0),
    ran: ran + (schedstat === last || polls ? 0 : 1),
    schedstat,
  });
}

/** The vCPU that a thread is in KVM_RUN for, which it may have entered by a copy of the descriptor. */
function runBy(thread: ThreadState, idle: readonly IdleVcpu[]): IdleVcpu | undefined {
  // One that SIGSTOP holds keeps the call's number, and runs nothing.
  const runFd = thread.state === "T" ? undefined : sleepsInKvmRun(thread);
  return runFd === undefined ? undefined : idle.find(({ fd, tid }) => fd === runFd || tid === thread.tid);
}
