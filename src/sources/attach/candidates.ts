import { HOST_THREADS } from "../../arch/arches.ts";
import type { ProcessId, ThreadState } from "../../os/proc.ts";
import { type BorrowedThread, type Surroundings, stackWillDo } from "./borrowed-thread.ts";
import type { HeldThreads } from "./held-threads.ts";
import { StopTimeoutError, ThreadGoneError } from "./ptrace.ts";
import { Tracee } from "./tracee.ts";
import { isKvmRun, sleepsInKvmRun, userThreads } from "./vcpu-runs.ts";

const { ifMadeAgain, readRegister } = HOST_THREADS;

/** A process, and the descriptors of a VM's vCPUs there by their number. */
export interface VmThreads extends Surroundings {
  vcpuFds: ReadonlyMap<number, number>;
}

/** A thread that may be stopped, with what stopping it needs. */
export interface Candidate {
  thread: ThreadState;
  tracee: Tracee;
  /** Whether it slept, on a stack that can be borrowed from. */
  stackWillDo: boolean;
}

/** All threads that can be stopped, the best to borrow first, the main thread before others. */
export function candidates(location: Surroundings): Candidate[] {
  return userThreads(location.pid)
    .filter(({ state }) => state !== "D")
    .map((thread) => ({
      thread,
      tracee: traceeOf(thread),
      stackWillDo:
        thread.syscall !== undefined && stackWillDo(location, thread.tid, thread.syscall.stackPointer),
    }))
    .sort((a, b) => reluctance(a) - reluctance(b));
}

function traceeOf({ tid, filtered, leader }: ThreadState): Tracee {
  return new Tracee(tid, filtered, leader);
}

/**
 * How little a thread is suited, by what its stop would do to it. A wait for a time is continued exactly, but
 * only by restart_syscall(2), which a filter may forbid; and should this process be killed, it starts over. Last
 * are those whose stack will not do.
 */
function reluctance({ thread: { syscall, filtered }, stackWillDo }: Candidate): number {
  if (syscall === undefined) return 3;
  if (!stackWillDo) return 6;
  if (isKvmRun(syscall.number, syscall.arguments[1])) return 4;
  const again = ifMadeAgain(syscall.number, syscall.arguments);
  return { exact: 0, eintr: 1, relative: filtered ? 5 : 2 }[again];
}

/** The vCPU fd of the KVM_RUN that a thread was stopped in. */
export function stoppedInKvmRun({ regs: { view } }: Tracee): number | undefined {
  const inRun = isKvmRun(Number(readRegister(view, "orig_rax")), Number(readRegister(view, "rsi")));
  return inRun ? Number(readRegister(view, "rdi")) : undefined;
}

/** Stops one thread: the first that can be. */
export function stopOne(threads: readonly Candidate[], held: HeldThreads): Tracee {
  let timeout: StopTimeoutError | undefined;
  for (const { tracee } of threads) {
    try {
      const [stopped] = held.stop([tracee]);
      if (stopped !== undefined) return stopped;
    } catch (error) {
      if (!(error instanceof StopTimeoutError)) throw error;
      timeout = error;
      held.release();
    }
  }
  throw timeout ?? new StopTimeoutError("no thread could be stopped");
}

/**
 * Stops the threads of vCPUs: those seen asleep in KVM_RUN, then those that were running, then all. Those
 * that turn out to be others are let go.
 */
export function stopVcpus(
  location: VmThreads,
  vcpus: readonly number[],
  threads: readonly Candidate[],
  held: HeldThreads,
): { stopped: Map<number, Tracee>; inRun: Map<number, number> } {
  const missing = new Map(vcpus.map((vcpu) => [location.vcpuFds.get(vcpu), vcpu]));
  const found = new Map<number, Tracee>();
  const stop = (which: (thread: ThreadState) => boolean) => {
    if (missing.size === 0) return;
    const wanted = threads.filter(({ thread }) => which(thread) && !held.has(thread.tid));
    for (const tracee of held.stop(wanted.map(({ tracee }) => tracee))) {
      const fd = stoppedInKvmRun(tracee);
      const vcpu = missing.get(fd);
      if (vcpu === undefined) continue;
      missing.delete(fd);
      found.set(vcpu, tracee);
    }
  };
  stop((thread) => missing.has(sleepsInKvmRun(thread)));
  stop((thread) => thread.syscall === undefined);
  // A thread that SIGSTOP holds keeps its call's number, and runs nothing.
  const asleep = threads.filter(({ thread }) => thread.state === "T").map(({ thread }) => thread.tid);
  const inRun = new Map(
    [...found].map(([vcpu, { tid }]) => [vcpu, tid] as const).filter(([, tid]) => !asleep.includes(tid)),
  );
  if (missing.size === 0) {
    held.release(new Set(found.values()));
    return { stopped: found, inRun };
  }
  const any = stopAll(location.pid, threads, held);
  for (const vcpu of missing.values()) found.set(vcpu, any);
  return { stopped: found, inRun };
}

/**
 * Stops every thread, those that are made meanwhile too.
 *
 * @returns the one to borrow.
 */
function stopAll(pid: ProcessId, threads: readonly Candidate[], held: HeldThreads): Tracee {
  const known = new Map(threads.map(({ tracee }) => [tracee.tid, tracee]));
  for (;;) {
    const free = userThreads(pid).filter(({ tid }) => !held.has(tid));
    if (held.stop(free.map((thread) => known.get(thread.tid) ?? traceeOf(thread))).length === 0) break;
  }
  const any = threads.find(({ tracee }) => held.has(tracee.tid));
  if (any === undefined) throw new ThreadGoneError("all threads ended");
  return any.tracee;
}

/** How many threads are stopped to find one that can map memory for another. */
const MOST_MAPPERS = 3;

/**
 * A thread with a stack that will do, to map memory for one without. Should this process be killed it finds back by
 * itself; the other one would have no frame for the length of two system calls.
 */
export function findMapper(
  threads: readonly Candidate[],
  held: HeldThreads,
  borrow: (tracee: Tracee) => BorrowedThread,
): BorrowedThread | undefined {
  const able = threads.filter(({ stackWillDo }) => stackWillDo).slice(0, MOST_MAPPERS);
  for (const { tracee } of able) {
    if (!held.has(tracee.tid) && held.stop([tracee]).length === 0) continue;
    const thread = borrow(tracee);
    if (thread.stackWillDo()) return thread;
  }
  return undefined;
}
