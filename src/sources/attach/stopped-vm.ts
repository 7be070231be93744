import type { Gsi } from "../../abi/numbers.ts";
import { HOST_ARCH } from "../../arch/arches.ts";
import { vcpuOf } from "../../arch/codec.ts";
import { readChip, writeChip } from "../../kvm/chips.ts";
import type { IoctlCaller } from "../../kvm/fd.ts";
import { Vcpu } from "../../kvm/vcpu.ts";
import { Vm } from "../../kvm/vm.ts";
import { hasThread, type ProcessId, readKvmFd, readStatus, type ThreadState } from "../../os/proc.ts";
import type { ChipId, ChipImage, InjectionStatus } from "../../vm/chip.ts";
import { type Controllers, readChips } from "../../vm/machine.ts";
import type { ThreadStop } from "../../vm/reading.ts";
import type { MsiMessage } from "../../vm/routing.ts";
import type { Alarm } from "./alarm.ts";
import { BorrowedThread, ChangedProcessError, rehearseBorrowing } from "./borrowed-thread.ts";
import {
  type Candidate,
  candidates,
  findMapper,
  stopOne,
  stoppedInKvmRun,
  stopVcpus,
  type VmThreads,
} from "./candidates.ts";
import { HeldThreads } from "./held-threads.ts";
import { BusyProcessError, PtraceError, StopTimeoutError } from "./ptrace.ts";
import { Tracee } from "./tracee.ts";
import { sleepsInKvmRun, userThreads } from "./vcpu-runs.ts";

/** A VM inside another process. */
export interface VmLocation extends VmThreads {
  vmFd: number;
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
  work: (machine: Controllers) => T,
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
  const owners = new Set(ids.map((id) => vcpuOf(HOST_ARCH, id)));
  const read = (machine: Controllers, vcpus: ReadonlySet<number | undefined>) => {
    const wanted = ids.filter((id) => vcpus.has(vcpuOf(HOST_ARCH, id)));
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
  work: (machine: Controllers, vcpu: number) => void,
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
    machine: (vmTracee: Tracee, byVcpu: ReadonlyMap<number, Tracee>) => Controllers,
  ) => Omit<StoppedWork<T>, "stops">,
): StoppedWork<T> {
  const deadline = () => process.hrtime.bigint() + BigInt(location.timeoutMs) * 1_000_000n;
  const held = new HeldThreads(deadline, (tid) => hasThread(location.pid, tid));
  const threads = candidates(location);
  const { alarm } = location;
  const vm = new StoppedVm(location);
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
    vm.borrow(borrow(vmTracee), vcpus);
    return vm;
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

/**
 * The vCPU descriptors that threads are in KVM_RUN with. Each thread is stopped by itself, until its registers are
 * read; those that can't be are left out.
 */
export function fdsInKvmRun(
  pid: ProcessId,
  tids: readonly number[],
  timeoutMs: number,
  alarm: Alarm,
): Map<number, number> {
  const found = new Map<number, number>();
  alarm.start();
  try {
    for (const tid of tids) {
      const fd = fdInKvmRun(pid, tid, () => process.hrtime.bigint() + BigInt(timeoutMs) * 1_000_000n);
      if (fd !== undefined) found.set(tid, fd);
    }
  } finally {
    alarm.stop();
  }
  return found;
}

function fdInKvmRun(pid: ProcessId, tid: number, deadline: () => bigint): number | undefined {
  const held = new HeldThreads(deadline, (one) => hasThread(pid, one));
  try {
    const { seccomp, tgid } = readStatus(tid) ?? {};
    const [tracee] = held.stop([new Tracee(tid, seccomp !== 0, tgid)]);
    return tracee && stoppedInKvmRun(tracee);
  } catch (error) {
    const isKnown = [PtraceError, StopTimeoutError, BusyProcessError].some((kind) => error instanceof kind);
    if (isKnown) return undefined;
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
      const vm = new StoppedVm({ vmFd, vcpuFds: new Map([[0, vmFd]]) });
      vm.borrow(thread, new Map([[0, thread]]));
      readChips(vm, ids);
    });
  }
}

/** The VM of a process whose threads are stopped; made before they are. */
class StoppedVm implements Controllers {
  readonly backend = "kvm";
  readonly vcpus: number;
  readonly #vm: Vm;
  readonly #vcpuOf: (index: number) => Vcpu;
  #vmThread: BorrowedThread | undefined;
  #byVcpu: ReadonlyMap<number, BorrowedThread> = new Map();

  constructor({ vmFd, vcpuFds }: Pick<VmLocation, "vmFd" | "vcpuFds">) {
    this.vcpus = vcpuFds.size;
    this.#vm = new Vm(vmFd, undefined, (...call) => this.#vmThread!.ioctl(...call));
    const vcpus = new Map<number, Vcpu>();
    this.#vcpuOf = (index) => {
      const call: IoctlCaller = (...args) => this.#byVcpu.get(index)!.ioctl(...args);
      const vcpu = vcpus.get(index) ?? new Vcpu(vcpuFds.get(index)!, index, call);
      vcpus.set(index, vcpu);
      return vcpu;
    };
  }

  /** The threads that its ioctls are run in. */
  borrow(vmThread: BorrowedThread, byVcpu: ReadonlyMap<number, BorrowedThread>): void {
    this.#vmThread = vmThread;
    this.#byVcpu = byVcpu;
  }

  readChip(id: ChipId): Uint8Array {
    return readChip({ vm: this.#vm, vcpuOf: this.#vcpuOf }, id);
  }

  writeChip(image: ChipImage): void {
    writeChip({ vm: this.#vm, vcpuOf: this.#vcpuOf }, image);
  }

  setIrqLine(gsi: Gsi, level: 0 | 1): InjectionStatus {
    return this.#vm.setIrqLine(gsi, level);
  }

  signalMsi(message: MsiMessage): InjectionStatus {
    return this.#vm.signalMsi(message);
  }
}
