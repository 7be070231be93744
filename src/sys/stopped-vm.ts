import { ifMadeAgain } from "../abi/x86/restart.ts";
import { readRegister } from "../abi/x86/user-regs.ts";
import { readChip, writeChip } from "../kvm/chips.ts";
import { Vcpu } from "../kvm/vcpu.ts";
import { Vm } from "../kvm/vm.ts";
import { type ProcessId, readKvmFd, readStatus, type ThreadState } from "../os/proc.ts";
import { type ChipId, type ChipImage, type InjectionStatus, parseChipId } from "../vm/chip.ts";
import { type Machine, readChips } from "../vm/machine.ts";
import type { MsiMessage } from "../vm/routing.ts";
import type { ThreadStop } from "../vm/source.ts";
import type { Alarm } from "./alarm.ts";
import {
  BorrowedThread,
  ChangedProcessError,
  rehearseBorrowing,
  type Surroundings,
  stackWillDo,
} from "./borrowed-thread.ts";
import { HeldThreads } from "./held-threads.ts";
import { PtraceError, StopTimeoutError, ThreadGoneError } from "./ptrace.ts";
import { Tracee } from "./tracee.ts";
import { isKvmRun, sleepsInKvmRun, userThreads } from "./vcpu-runs.ts";

/**
 * A machine of another process. What its irqchip and routing are can't be told, so the routing is not to be
 * replaced.
 */
export type ForeignMachine = Omit<Machine, "irqchip" | "routing" | "setRouting" | "irqfd" | "guest">;

/** A VM inside another process. */
export interface VmLocation extends Surroundings {
  vmFd: number;
  /** Descriptors of the vCPUs by their number. */
  vcpuFds: ReadonlyMap<number, number>;
  /** Milliseconds that any single wait may last. */
  timeoutMs: number;
  /** What keeps waits from lasting longer. */
  alarm: Alarm;
}

/** What was done while threads were stopped, and which threads that were. */
export interface StoppedWork<T> {
  value: T;
  stops: readonly ThreadStop[];
  /** Of the vCPUs asked for, those that a thread was in KVM_RUN for when it was stopped: that thread's id. */
  inRun: ReadonlyMap<number, number>;
}

/**
 * Stops what has to be stopped of a process, does some work on its VM, and lets it go as it was.
 *
 * Without vCPUs one thread is stopped, one that runs no vCPU if there is such a one, and the vCPUs run on.
 * A vCPU's ioctls wait for a mutex that its thread holds inside KVM_RUN, so they go into that very thread,
 * which leaves KVM_RUN when it is stopped. When it can't be told, because no thread is in KVM_RUN for that
 * vCPU, all threads are stopped, and any of them will do.
 *
 * From the first stop to the last detach this is one synchronous function: a JavaScript signal handler runs
 * before or after it, never within.
 *
 * @param vcpus those whose local APIC or state the work touches.
 * @param work must be synchronous.
 * @throws PtraceError, StopTimeoutError, ThreadGoneError; what the work threw.
 */
export function withStoppedVm<T>(
  location: VmLocation,
  vcpus: readonly number[],
  work: (machine: ForeignMachine) => T,
): StoppedWork<T> {
  return withHeld(location, (held, threads, machine) => {
    const { stopped, inRun } = stopVcpus(location, vcpus, threads, held);
    const vmTracee = [...stopped.values()][0] ?? stopOne(threads, held);
    return { value: work(machine(vmTracee, stopped)), inRun };
  });
}

/**
 * Reads chips in turn, so that no thread is held while others are read: first those of the VM through one thread,
 * then each vCPU's through its own thread, which is let go before the next is stopped. Those that no thread is
 * in KVM_RUN for come last, all within one stop of all threads.
 *
 * @throws what {@link withStoppedVm} throws.
 */
export function readInTurn(location: VmLocation, ids: readonly ChipId[]): StoppedWork<ChipImage[]> {
  const images = new Map<ChipId, ChipImage>();
  const stops: ThreadStop[] = [];
  const inRun = new Map<number, number>();
  const owners = new Set(ids.map(vcpuOf));
  const read = (machine: ForeignMachine, vcpus: ReadonlySet<number | undefined>) => {
    const wanted = ids.filter((id) => vcpus.has(vcpuOf(id)));
    for (const image of readChips(machine, wanted)) images.set(image.id, image);
  };
  const add = (done: StoppedWork<unknown>) => {
    stops.push(...done.stops);
    for (const [vcpu, tid] of done.inRun) inRun.set(vcpu, tid);
  };
  if (owners.has(undefined))
    add(withStoppedVm(location, [], (machine) => read(machine, new Set([undefined]))));
  const missing = new Set([...owners].filter((vcpu) => vcpu !== undefined));
  // One that was at work on an exit is in KVM_RUN again by the second look.
  for (let look = 0; look < 2 && missing.size > 0; look++) {
    for (const { tid } of maybeInRun(location, missing)) {
      if (missing.size === 0) break;
      add(withVcpuOf(location, tid, missing, (machine, vcpu) => read(machine, new Set([vcpu]))));
    }
  }
  if (missing.size > 0) add(withStoppedVm(location, [...missing], (machine) => read(machine, missing)));
  return { value: ids.map((id) => images.get(id)!), stops, inRun };
}

/** The vCPU that a chip belongs to, `undefined` for the VM's own. */
function vcpuOf(id: ChipId): number | undefined {
  const { kind, vcpu } = parseChipId(id);
  return kind === "lapic" || kind === "vcpu" ? vcpu : undefined;
}

/** Threads that may be in KVM_RUN for one of these vCPUs: first those that sleep there, then those that run. */
function maybeInRun({ pid, vcpuFds }: VmLocation, vcpus: ReadonlySet<number>): ThreadState[] {
  const fds = new Set([...vcpus].map((vcpu) => vcpuFds.get(vcpu)));
  return userThreads(pid)
    .filter((thread) => thread.syscall === undefined || fds.has(sleepsInKvmRun(thread) ?? -1))
    .sort((a, b) => Number(a.syscall === undefined) - Number(b.syscall === undefined));
}

/** Stops one thread, and does some work on the vCPU that it is in KVM_RUN for, if that is one of those missing. */
function withVcpuOf(
  location: VmLocation,
  tid: number,
  missing: Set<number>,
  work: (machine: ForeignMachine, vcpu: number) => void,
): StoppedWork<void> {
  return withHeld(location, (held, threads, machine) => {
    const inRun = new Map<number, number>();
    const candidate = threads.find(({ thread }) => thread.tid === tid);
    const [tracee] = candidate === undefined ? [] : held.stop([candidate.tracee]);
    const fd = tracee === undefined ? undefined : stoppedInKvmRun(tracee);
    const vcpu = [...missing].find((one) => location.vcpuFds.get(one) === fd);
    if (tracee !== undefined && fd !== undefined && vcpu !== undefined) {
      work(machine(tracee, new Map([[vcpu, tracee]])), vcpu);
      missing.delete(vcpu);
      // A thread that SIGSTOP holds keeps its call's number, and runs nothing.
      if (candidate?.thread.state !== "T") inRun.set(vcpu, tid);
    }
    return { value: undefined, inRun };
  });
}

/**
 * Gives some work threads to stop and a machine to reach through them, and puts all of it back and lets go.
 */
function withHeld<T>(
  location: VmLocation,
  work: (
    held: HeldThreads,
    threads: readonly Candidate[],
    machine: (vmTracee: Tracee, byVcpu: ReadonlyMap<number, Tracee>) => ForeignMachine,
  ) => Omit<StoppedWork<T>, "stops">,
): StoppedWork<T> {
  const deadline = () => process.hrtime.bigint() + BigInt(location.timeoutMs) * 1_000_000n;
  const held = new HeldThreads(deadline);
  const threads = candidates(location);
  const { alarm } = location;
  const borrowed = new Map<Tracee, BorrowedThread>();
  const borrow = (tracee: Tracee): BorrowedThread => {
    const mapper = () => findMapper(threads, held, borrow);
    const thread = borrowed.get(tracee) ?? new BorrowedThread(tracee, location, deadline, mapper);
    borrowed.set(tracee, thread);
    return thread;
  };
  const machine = (vmTracee: Tracee, byVcpu: ReadonlyMap<number, Tracee>) => {
    insistOnDescriptors(location, vmTracee, byVcpu.keys());
    const vcpus = new Map([...byVcpu].map(([vcpu, tracee]) => [vcpu, borrow(tracee)]));
    return new StoppedVm(location, borrow(vmTracee), vcpus);
  };
  rehearse(location);
  alarm.start();
  try {
    return { ...work(held, threads, machine), stops: held.stops };
  } finally {
    try {
      // In the order in which they were borrowed: one that mapped memory for another comes after it.
      for (const thread of borrowed.values()) thread.giveBack();
    } finally {
      held.release();
      alarm.stop();
    }
  }
}

/** How many threads are stopped to find one that can map memory for another. */
const MOST_MAPPERS = 3;

/**
 * A thread with a stack that will do, to map memory for one without. Should this process be killed it finds back by
 * itself; the other one would have no frame for the length of two system calls.
 */
function findMapper(
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

/**
 * The vCPU descriptors that threads are in KVM_RUN with. Each thread is stopped by itself, until its registers are
 * read; those that can't be are left out.
 */
export function fdsInKvmRun(tids: readonly number[], timeoutMs: number, alarm: Alarm): Map<number, number> {
  const found = new Map<number, number>();
  alarm.start();
  try {
    for (const tid of tids) {
      const fd = fdInKvmRun(tid, () => process.hrtime.bigint() + BigInt(timeoutMs) * 1_000_000n);
      if (fd !== undefined) found.set(tid, fd);
    }
  } finally {
    alarm.stop();
  }
  return found;
}

function fdInKvmRun(tid: number, deadline: () => bigint): number | undefined {
  const held = new HeldThreads(deadline);
  try {
    const filtered = readStatus(tid)?.seccomp !== 0;
    const [tracee] = held.stop([new Tracee(tid, filtered)]);
    return tracee && stoppedInKvmRun(tracee);
  } catch (error) {
    if (error instanceof PtraceError || error instanceof StopTimeoutError) return undefined;
    throw error;
  } finally {
    held.release();
  }
}

/** Throws unless the descriptors of a VM and of vCPUs are still what they were. */
function insistOnDescriptors(
  { pid, vmFd, vcpuFds }: VmLocation,
  { tid }: Tracee,
  vcpus: Iterable<number>,
): void {
  const changed =
    readKvmFd(`${pid}/task/${tid}`, vmFd) !== "vm" ||
    [...vcpus].some((vcpu) => readKvmFd(`${pid}/task/${tid}`, vcpuFds.get(vcpu)!) !== vcpu);
  if (changed) throw new ChangedProcessError("a descriptor is not of KVM any more");
}

let rehearsed = false;

/** How often a stop is rehearsed: after that it hardly gets faster. */
const REHEARSALS = 5;

/** In a process that has just started, what a stop runs is loaded, compiled and looked up beforehand. */
function rehearse({ vmFd }: VmLocation): void {
  if (rehearsed) return;
  rehearsed = true;
  const ids: readonly ChipId[] = ["pic1", "pic2", "ioapic", "lapic[0]"];
  for (let times = 0; times < REHEARSALS; times++) {
    rehearseBorrowing((thread, { tid }) => {
      readKvmFd(`self/task/${tid}`, vmFd);
      readChips(new StoppedVm({ vmFd, vcpuFds: new Map([[0, vmFd]]) }, thread, new Map([[0, thread]])), ids);
    });
  }
}

/** A thread that may be stopped, with what stopping it needs. */
interface Candidate {
  thread: ThreadState;
  tracee: Tracee;
  /** Whether it slept, on a stack that can be borrowed from. */
  stackWillDo: boolean;
}

/** All threads that can be stopped, the best to borrow first, the main thread before others. */
function candidates(location: VmLocation): Candidate[] {
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

function traceeOf({ tid, filtered }: ThreadState): Tracee {
  return new Tracee(tid, filtered);
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
function stoppedInKvmRun({ regs: { view } }: Tracee): number | undefined {
  const inRun = isKvmRun(Number(readRegister(view, "orig_rax")), Number(readRegister(view, "rsi")));
  return inRun ? Number(readRegister(view, "rdi")) : undefined;
}

/** Stops one thread: the first that can be. */
function stopOne(threads: readonly Candidate[], held: HeldThreads): Tracee {
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
function stopVcpus(
  location: VmLocation,
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

/** The VM of a process whose threads are stopped. */
class StoppedVm implements ForeignMachine {
  readonly backend = "kvm";
  readonly vcpus: number;
  readonly #vm: Vm;
  readonly #vcpuOf: (index: number) => Vcpu;

  constructor(
    location: Pick<VmLocation, "vmFd" | "vcpuFds">,
    vmThread: BorrowedThread,
    byVcpu: ReadonlyMap<number, BorrowedThread>,
  ) {
    this.vcpus = location.vcpuFds.size;
    this.#vm = new Vm(location.vmFd, undefined, (...call) => vmThread.ioctl(...call));
    const vcpus = new Map<number, Vcpu>();
    for (const [index, thread] of byVcpu) {
      vcpus.set(index, new Vcpu(location.vcpuFds.get(index)!, index, (...call) => thread.ioctl(...call)));
    }
    this.#vcpuOf = (index) => vcpus.get(index)!;
  }

  readChip(id: ChipId): Uint8Array {
    return readChip(this.#vm, this.#vcpuOf, id);
  }

  writeChip(image: ChipImage): void {
    writeChip(this.#vm, this.#vcpuOf, image);
  }

  setIrqLine(gsi: number, level: 0 | 1): InjectionStatus {
    return this.#vm.setIrqLine(gsi, level);
  }

  signalMsi(message: MsiMessage): InjectionStatus {
    return this.#vm.signalMsi(message);
  }

  /** Nothing: the VM is its process's own. */
  close(): void {}
}
