import { setTimeout as sleep } from "node:timers/promises";
import { ERRNO } from "../../abi/errno.ts";
import { KvmIrqError } from "../../abi/error.ts";
import { HOST_ARCH } from "../../arch/arches.ts";
import { vcpuOf } from "../../arch/codec.ts";
import { KvmError } from "../../kvm/kvm-error.ts";
import {
  type HeldProcess,
  hasUserfaultfd,
  type ProcessRecord,
  readKvmFd,
  readProcess,
  readStatus,
  readTracer,
  withMemory,
} from "../../os/proc.ts";
import { guardSignals } from "../../os/signal-guard.ts";
import type { ChipId, ChipImage } from "../../vm/chip.ts";
import {
  carryOut,
  isAble,
  type Operation,
  operation,
  type Params,
  type Result,
  unsupported,
} from "../../vm/operations.ts";
import type { Identity, Reading, ThreadStop, Wanted } from "../../vm/reading.ts";
import type { Source } from "../../vm/source.ts";
import { findGadgets, type Gadgets, isEnding, readMappings } from "./address-space.ts";
import { Alarm } from "./alarm.ts";
import { ChangedProcessError } from "./borrowed-thread.ts";
import { checkProcess, chooseVm, gone, holdProcess, identityOfVm, noVm, refused, unseen } from "./choose.ts";
import { judge, letsGoSoon, type Permission } from "./permission.ts";
import { explainFailure } from "./process-errors.ts";
import { debugVmOf, type VmProcess, vmsOf } from "./processes.ts";
import { BusyProcessError, PtraceError } from "./ptrace.ts";
import { fdsInKvmRun, readInTurn, type StoppedWork, type VmLocation, withStoppedVm } from "./stopped-vm.ts";
import { watchIdle } from "./vcpu-runs.ts";

export interface ProcessOptions {
  pid: number;
  /** Which VM, for a process with several. */
  vmFd?: number | undefined;
  /** How long any single wait for the process may last, in milliseconds. */
  timeoutMs?: number | undefined;
}

/** How often waits are looked at. No stop that goes well takes that long. */
const ALARM_MS = 20;
/** Long beside the microseconds that a stop takes, short beside what a guest's watchdog bears. */
const DEFAULT_TIMEOUT_MS = 1000;

/**
 * Opens the VM inside another process. Nothing is stopped yet: that happens in each call that reads or
 * writes, once for all it was asked for. Only of a process with several VMs threads that never sleep are stopped,
 * each for a moment, to learn which vCPU they run.
 *
 * @throws KvmIrqError `no-process`, `no-vm`, `attach-refused`; `usage` when there are several VMs and no
 *   `vmFd`.
 */
export async function openProcess({ pid, vmFd, timeoutMs }: ProcessOptions): Promise<ProcessSource> {
  const held = holdProcess(pid);
  try {
    const { record, attachable } = await accessible(pid);
    const vm = chooseVm(pid, vmFd, await vmsOf(record, { attachable }));
    return new ProcessSource(await withVcpus(vm, record, held), held, timeoutMs ?? DEFAULT_TIMEOUT_MS);
  } catch (error) {
    held.close();
    throw error;
  }
}

/** Of several VMs whose guests never halt, which vCPU is whose is read from their threads' registers. */
async function withVcpus(vm: VmProcess, record: ProcessRecord, { id }: HeldProcess): Promise<VmProcess> {
  if (vm.vcpus !== null) return vm;
  const stop = (tids: readonly number[]) => fdsInKvmRun(id, tids, DEFAULT_TIMEOUT_MS, new Alarm(ALARM_MS));
  return (
    (await vmsOf(record, { attachable: vm.attachable, stop })).find(({ vm_fd }) => vm_fd === vm.vm_fd) ?? vm
  );
}

/** How long others of us at the same VM are waited for: each holds it for milliseconds, and lets go. */
const PATIENCE_MS = 5_000;
const PAUSE_MS = 3;

/** A process that may be attached to. Another of us that is attached just now is waited for. */
async function accessible(pid: number): Promise<{ record: ProcessRecord; attachable: Permission }> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const record = readProcess(pid);
    checkProcess(pid, record);
    const attachable = judge(record);
    if (attachable.allowed) {
      if (record.fds === undefined) throw unseen(pid);
      return { record, attachable };
    }
    if (attachable.busy !== true || performance.now() > deadline) {
      throw refused(pid, attachable.reason, attachable.hint);
    }
    await sleep(PAUSE_MS);
  }
}

/** How often a thread may be found free right after it could not be seized, before the kernel is believed. */
const MOST_RACES = 100;

/** Who has the thread that could not be seized: one of us, nobody any more, or somebody who keeps it. */
function holderOf(error: unknown): "us" | "nobody" | "other" {
  if (!(error instanceof PtraceError && error.request.startsWith("PTRACE_SEIZE"))) return "other";
  if (error.errno !== ERRNO.EPERM) return "other";
  const tracer = readTracer(readStatus(error.tid));
  return tracer === undefined ? "nobody" : letsGoSoon(tracer) ? "us" : "other";
}

/**
 * What a refusal tells of the VM's irqchip: without PICs and IOAPIC KVM_GET_IRQCHIP gives ENXIO, without local APICs
 * KVM_GET_LAPIC gives EINVAL (arch/x86/kvm/x86.c).
 */
function irqchipBy(error: unknown): "split" | "none" | undefined {
  if (!(error instanceof KvmError)) return undefined;
  if (error.ioctl === "KVM_GET_IRQCHIP" && error.errno === ERRNO.ENXIO) return "split";
  return error.ioctl === "KVM_GET_LAPIC" && error.errno === ERRNO.EINVAL ? "none" : undefined;
}

/** The VM inside another process, reached by stopping a thread of it for some hundred microseconds. */
export class ProcessSource implements Source {
  readonly #vm: VmProcess;
  readonly #timeoutMs: number;
  readonly #held: HeldProcess;
  readonly #alarm = new Alarm(ALARM_MS);
  readonly #endGuard = guardSignals();
  #gadgets: Gadgets | undefined;
  #lastStops: readonly ThreadStop[] = [];
  /** What it turned out to lack when it was read; nothing else tells. */
  #irqchip: "split" | "none" | undefined;
  #inRun: ReadonlyMap<number, number> = new Map();

  /**
   * @param held its process, from before it was looked for; closed with this.
   * @param timeoutMs how long any single wait for the process may last.
   */
  constructor(vm: VmProcess, held: HeldProcess, timeoutMs: number) {
    this.#vm = vm;
    this.#timeoutMs = timeoutMs;
    this.#held = held;
  }

  /** The threads that the last call stopped, and for how long. */
  get lastStops(): readonly ThreadStop[] {
    return this.#lastStops;
  }

  get identity(): Identity {
    const { vcpus, vcpu_fds } = this.#vm;
    const irqchip = this.#irqchip;
    const each = (kind: "lapic" | "vcpu") => vcpu_fds.map(({ vcpu }): ChipId => `${kind}[${vcpu}]`);
    return {
      ...identityOfVm(this.#vm, "ptrace", { irqchip, unsure: vcpus === null ? { vcpus } : {} }),
      chips: [
        ...(irqchip === undefined ? HOST_ARCH.chips(0) : []),
        ...(irqchip === "none" ? [] : each("lapic")),
        ...each("vcpu"),
      ],
      ...(vcpus !== null && { vcpus }),
    };
  }

  can(name: Operation): boolean {
    return isAble({}, name);
  }

  async read({ chips }: Wanted): Promise<Reading> {
    const images = chips.length === 0 ? [] : await this.#readChips(chips);
    return {
      identity: this.identity,
      images,
      runs: await this.#runsOf(chips),
      consistency: "per chip",
      stops: chips.length === 0 ? [] : this.#lastStops,
    };
  }

  async perform<N extends Operation>(name: N, params: Params<N>): Promise<Result<N>> {
    const { identity } = this;
    if (!this.can(name)) throw unsupported(name, identity);
    const ids = operation(name).chips?.(params) ?? [];
    return this.#whenFree(ids, (location, vcpus) =>
      withStoppedVm(location, vcpus, (vm) => carryOut(name, vm, params, identity)),
    );
  }

  #readChips(ids: readonly ChipId[]): Promise<ChipImage[]> {
    const read = (wanted: readonly ChipId[]) =>
      this.#whenFree(wanted, (location) => readInTurn(location, wanted));
    return read(ids).catch(async (error) => {
      const [first] = this.#vm.vcpu_fds;
      // Without PICs and IOAPIC there may be no local APIC either.
      if (this.#irqchip === "split" && first !== undefined)
        await read([`lapic[${first.vcpu}]`]).catch(() => {});
      throw error;
    });
  }

  /** Whether vCPUs run of which state was read. Those that were not in KVM_RUN at the stop are watched for a while. */
  async #runsOf(ids: readonly ChipId[]): Promise<Map<number, boolean>> {
    const { pid, vcpu_fds } = this.#vm;
    const runs = new Map([...this.#inRun.keys()].map((vcpu) => [vcpu, true]));
    const idle = vcpu_fds.filter(({ vcpu }) => ids.includes(`vcpu[${vcpu}]`) && !runs.has(vcpu));
    if (idle.length === 0) return runs;
    const seen = await debugVmOf(pid, this.#vm.vm_fd);
    const looked = await watchIdle(
      pid,
      idle.map((one) => ({ ...one, tid: seen?.threads.get(one.vcpu) })),
      { busy: new Set(this.#inRun.values()), irqchip: this.#irqchip },
    );
    return new Map([...runs, ...looked]);
  }

  async close(): Promise<void> {
    this.#endGuard();
    this.#held.close();
  }

  /** Another of us that is attached just now is waited for; nothing has been done until then. */
  async #whenFree<T>(
    ids: readonly ChipId[],
    work: (location: VmLocation, vcpus: readonly number[]) => StoppedWork<T>,
  ): Promise<T> {
    const vcpus = this.#vcpusOf(ids);
    this.#lastStops = [];
    const deadline = performance.now() + PATIENCE_MS;
    for (let races = 0; ; ) {
      try {
        const { value, stops, inRun } = work(this.#locate(), vcpus);
        this.#lastStops = stops;
        this.#inRun = inRun;
        return value;
      } catch (error) {
        this.#irqchip = irqchipBy(error) ?? this.#irqchip;
        const holder = holderOf(error);
        if (holder === "nobody") races++;
        const changed = error instanceof ChangedProcessError || error instanceof BusyProcessError;
        if (changed) this.#lookAgain(error);
        const patient = changed || holder === "us" || (holder === "nobody" && races <= MOST_RACES);
        if (!patient || performance.now() > deadline) throw explainFailure(this.#vm, error);
      }
      // Not all at the same time again.
      await sleep(PAUSE_MS * (1 + 3 * Math.random()));
    }
  }

  /** After an exec, or a change of descriptors: forgets what was found. @throws KvmIrqError when the VM is gone. */
  #lookAgain(cause: Error): void {
    const { pid, vm_fd, vcpu_fds } = this.#vm;
    const id = withMemory(this.#held.id);
    this.#gadgets = undefined;
    const there =
      readKvmFd(id, vm_fd) === "vm" && vcpu_fds.every(({ vcpu, fd }) => readKvmFd(id, fd) === vcpu);
    if (there) return;
    if (isEnding(this.#held.id)) throw gone(pid, cause);
    throw noVm(pid, `process ${pid} has closed its VM, or runs another program now`);
  }

  /** What a stop needs to know, all of it looked up before. */
  #locate(): VmLocation {
    const { pid, vm_fd } = this.#vm;
    const { id } = this.#held;
    const mappings = readMappings(id);
    const status = readStatus(withMemory(id));
    if (mappings.length === 0 || status === undefined) throw gone(pid);
    this.#gadgets ??= findGadgets(id, mappings);
    if (this.#gadgets === undefined) {
      throw refused(pid, `process ${pid} has no system call instruction to borrow`, "use its VMM's monitor");
    }
    const gadgets = status.shadowStack ? { ...this.#gadgets, restorer: undefined } : this.#gadgets;
    return {
      pid: id,
      vmFd: vm_fd,
      vcpuFds: new Map(this.#vm.vcpu_fds.map(({ vcpu, fd }) => [vcpu, fd])),
      timeoutMs: this.#timeoutMs,
      alarm: this.#alarm,
      mappings,
      userfaultfd: hasUserfaultfd(id),
      gadgets,
    };
  }

  /** The vCPUs that chips belong to. @throws KvmIrqError `bad-chip` for one that the VM does not have. */
  #vcpusOf(ids: readonly ChipId[]): number[] {
    const { pid, vcpus, vcpu_fds } = this.#vm;
    const wanted = new Set<number>();
    for (const id of ids) {
      const vcpu = vcpuOf(HOST_ARCH, id);
      if (vcpu === undefined) continue;
      if (vcpus === null) {
        throw new KvmIrqError(
          "unsupported",
          `which vCPUs of process ${pid} belong to which of its VMs can't be told`,
          {
            hint: "its PICs and IOAPICs can be read: `--chip pic1 --chip pic2 --chip ioapic`",
          },
        );
      }
      if (!vcpu_fds.some((entry) => entry.vcpu === vcpu)) {
        throw new KvmIrqError("bad-chip", `there is no vCPU ${vcpu}: the VM of process ${pid} has ${vcpus}`);
      }
      wanted.add(vcpu);
    }
    return [...wanted];
  }
}
