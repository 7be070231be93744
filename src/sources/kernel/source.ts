import { KvmIrqError } from "../../abi/error.ts";
import type { KernelHost, KernelMemory, VmMemory } from "../../arch/arch.ts";
import { HOST_ARCH } from "../../arch/arches.ts";
import { isPerVcpu, vcpuOf } from "../../arch/codec.ts";
import { readProcess, readStatus } from "../../os/proc.ts";
import type { Node } from "../../registers/memory.ts";
import type { ChipId, ChipImage } from "../../vm/chip.ts";
import type { Facts, IrqfdFact } from "../../vm/facts.ts";
import { unsupported } from "../../vm/operations.ts";
import type { Identity, Reading, Wanted } from "../../vm/reading.ts";
import type { Source } from "../../vm/source.ts";
import { checkProcess, chooseVm, gone, holdProcess, identityOfVm, noVm, unseen } from "../attach/choose.ts";
import { type VmProcess, vmsOf } from "../attach/processes.ts";
import { watchIdle } from "../attach/vcpu-runs.ts";
import { KernelAccess } from "./access.ts";
import { findHolders } from "./eventfd-holders.ts";
import { irqfdsOf, routesOf, routingOf } from "./facts.ts";
import { Graph, TornError, Walk } from "./graph.ts";
import type { KernelProcess } from "./process.ts";
import { type IrqfdRead, type VmStructure, vmStructure } from "./structures.ts";

/** How often a VM's structures are looked for again when they change meanwhile, and looked at until two looks agree. */
const MOST_WALKS = 20;
const MOST_LOOKS = 10;

const FROM = "kernel memory";

/** What one reading found. */
interface Look {
  vm: VmNode;
  nowNs: bigint;
  settled: boolean;
}
type VmNode = Node<VmStructure["fields"]>;

/**
 * Opens the VM inside another process by the memory of the kernel. Nobody is stopped and nothing is changed, now or
 * later.
 *
 * @throws KvmIrqError `bpf-unavailable` where the kernel's memory can't be read; `no-process`, `no-vm`,
 *   `attach-refused`; `usage` when there are several VMs and no `vmFd`.
 */
export async function openByKernel({ pid, vmFd }: { pid: number; vmFd?: number | undefined }) {
  const held = holdProcess(pid);
  try {
    const record = readProcess(pid);
    checkProcess(pid, record);
    if (record.fds === undefined) throw unseen(pid);
    const vm = chooseVm(pid, vmFd, await vmsOf(record));
    const memory = await HOST_ARCH.memory!();
    const kernel = new KernelAccess();
    try {
      const source = new KernelSource(vm, kernel, memory);
      if (readStatus(held.id) === undefined) throw gone(pid);
      return source;
    } catch (error) {
      kernel.close();
      throw error;
    }
  } finally {
    held.close();
  }
}

/** The VM inside another process, in the memory of the kernel that runs it. */
export class KernelSource implements Source {
  readonly #vm: VmProcess;
  readonly #process: KernelProcess;
  readonly #kernel: KernelAccess;
  readonly #memory: KernelMemory;
  readonly #graph: Graph;
  /** What is looked for, without and with irqfds, and where it was found. */
  readonly #structures: Record<"bare" | "irqfds", VmStructure>;
  readonly #walks = new Map<VmStructure, Walk<VmStructure["fields"]>>();
  #identity: Identity;

  /** @param kernel closed with this. */
  constructor(vm: VmProcess, kernel: KernelAccess, memory: KernelMemory) {
    this.#vm = vm;
    this.#process = kernel.process(vm.pid);
    this.#kernel = kernel;
    this.#memory = memory;
    this.#graph = new Graph(kernel);
    this.#structures = {
      bare: vmStructure(memory, kernel.vendor, false),
      irqfds: vmStructure(memory, kernel.vendor, true),
    };
    this.#identity = this.#identityOf(this.#look("bare").vm);
    kernel.save();
    if (this.#identity.irqchip === undefined) {
      throw new KvmIrqError("bpf-unavailable", "this kernel's type information has nothing of KVM", {
        hint: "use --via ptrace",
      });
    }
  }

  get identity(): Identity {
    return this.#identity;
  }

  can(): boolean {
    return false;
  }

  async read({ chips, facts: names = [] }: Wanted): Promise<Reading> {
    const { vm, nowNs, settled } = this.#look(names.includes("irqfds") ? "irqfds" : "bare");
    this.#identity = this.#identityOf(vm);
    const { vendor } = this.#kernel;
    const host: KernelHost = {
      vendor,
      nowNs,
      enumOf: (name) => this.#kernel.enumOf(name),
      has: (type, path) => this.#kernel.has(type, path),
    };
    const read = readOf(vm);
    const routes = vm.routing && routesOf(this.#memory, vm.routing.chains ?? []);
    const own = this.#memory.facts(names, read, host);
    const facts: Facts = {
      ...(names.includes("routes") && routes && { routes: { value: routes, from: FROM } }),
      ...(names.includes("irqfds") &&
        vm.irqfds && { irqfds: { value: this.#irqfds(vm.irqfds), from: FROM } }),
      ...own.facts,
    };
    return {
      identity: this.#identity,
      images: chips.map((id) => this.#image(id, read, host)),
      ...(routes && { routing: { value: routingOf(routes), from: FROM } }),
      ...(names.length > 0 && { facts, unknown: own.unknown }),
      runs: await this.#runsOf(vm, chips),
      consistency: "unsynchronised",
      settled,
      stops: [],
    };
  }

  #irqfds(irqfds: readonly IrqfdRead[]): IrqfdFact[] {
    const ids = irqfds.flatMap(({ eventfd, resample }) => [eventfd?.id, resample?.id]);
    const known = new Set(ids.filter((id) => id !== undefined));
    return irqfdsOf(this.#memory, irqfds, findHolders(this.#vm.pid, known));
  }

  async perform(name: Parameters<Source["perform"]>[0]): Promise<never> {
    throw unsupported(name, this.#identity);
  }

  async close(): Promise<void> {
    this.#process.close();
    this.#kernel.close();
  }

  /** Looks until two looks in a row agree, or for the last time. */
  #look(what: "bare" | "irqfds"): Look {
    const structure = this.#structures[what];
    for (let walks = 1; ; walks++) {
      const before = this.#address();
      try {
        let walk = this.#walks.get(structure);
        if (walk?.address !== before) walk = new Walk(this.#graph, this.#kernel, structure, before);
        this.#walks.set(structure, walk);
        const look = settle(walk);
        if (this.#address() === before) return look;
      } catch (error) {
        if (!(error instanceof TornError)) throw error;
        if (walks === MOST_WALKS) throw unsettled(this.#vm.pid, error);
      }
      this.#walks.delete(structure);
    }
  }

  /** Where its `struct kvm` is. @throws KvmIrqError when the VM is gone. */
  #address(): bigint {
    const { pid, vm_fd } = this.#vm;
    const address = this.#process.vm(vm_fd);
    if (address !== undefined) return address;
    throw noVm(pid, `process ${pid} has closed its VM, or runs another program now`);
  }

  #image(id: ChipId, vm: VmMemory, host: KernelHost): ChipImage {
    const image = this.#memory.image(id, vm, host);
    if (image !== undefined) return { id, ...image };
    const vcpu = vcpuOf(HOST_ARCH, id);
    const { pid } = this.#vm;
    throw vcpu !== undefined && !vm.vcpus.has(vcpu)
      ? new KvmIrqError("bad-chip", `there is no vCPU ${vcpu}: the VM of process ${pid} has ${vm.vcpus.size}`)
      : new KvmIrqError(
          "bad-chip",
          `the VM of process ${pid} has no ${id}, or this kernel keeps it elsewhere`,
        );
  }

  #identityOf(vm: VmNode): Identity {
    const irqchip = this.#memory.irqchip(readOf(vm));
    const vcpus = [...readOf(vm).vcpus.keys()];
    const kinds = HOST_ARCH.chipKinds.filter(
      (one) => irqchip === "full" || (irqchip === "split" && isPerVcpu(one)),
    );
    const ids = (kind: string) => vcpus.map((vcpu): ChipId => `${kind}[${vcpu}]`);
    return {
      ...identityOfVm(this.#vm, "kernel", { irqchip }),
      chips: [
        ...kinds.flatMap((one) => (isPerVcpu(one) ? ids(one.kind) : [one.kind])),
        ...(HOST_ARCH.vcpu === undefined ? [] : ids(HOST_ARCH.vcpu.kind)),
      ],
      facts: Object.keys(HOST_ARCH.facts),
      vcpus: vcpus.length,
    };
  }

  /** Whether vCPUs run of which the state was read: a thread holds each that is in KVM_RUN; others are watched. */
  async #runsOf({ vcpus = [] }: VmNode, ids: readonly ChipId[]): Promise<Map<number, boolean>> {
    const kind = HOST_ARCH.vcpu?.kind;
    const asked = vcpus.filter(({ id }) => ids.includes(`${kind}[${id}]`));
    const busy = asked.filter(({ owner = 0n }) => owner !== 0n);
    const runs = new Map(busy.map(({ id }) => [id!, true]));
    const idle = asked.filter(({ owner = 0n }) => owner === 0n);
    if (idle.length === 0) return runs;
    const looked = await watchIdle(
      this.#vm.pid,
      idle.map(({ id, pid }) => ({ vcpu: id!, fd: -1, tid: pid?.nr ?? 0 })),
      { busy: new Set(busy.map(({ pid }) => pid?.nr ?? 0)), irqchip: this.#identity.irqchip },
    );
    return new Map([...runs, ...looked]);
  }
}

function settle(walk: Walk<VmStructure["fields"]>): Look {
  let before = walk.look();
  if (!walk.agree(walk.seen, before, "shape")) throw new TornError("the VM changes");
  for (let looks = 2; ; looks++) {
    const nowNs = process.hrtime.bigint();
    const look = walk.look();
    if (!walk.agree(before, look, "shape")) throw new TornError("the VM changes");
    const settled = walk.agree(before, look, "all");
    if (settled || looks === MOST_LOOKS) return { vm: walk.value(look), nowNs, settled };
    before = look;
  }
}

function readOf(vm: VmNode): VmMemory {
  const vcpus = (vm.vcpus ?? []).map(
    ({ id, arch, vendor, mode = 0 }) => [id ?? 0, { arch, vendor, mode }] as const,
  );
  return { arch: vm.arch, vcpus: new Map(vcpus.sort(([a], [b]) => a - b)) };
}

function unsettled(pid: number, cause: unknown): KvmIrqError {
  return new KvmIrqError("no-vm", `the VM of process ${pid} changes faster than it can be read`, {
    hint: "try again, or use --via ptrace",
    details: { pid },
    cause,
  });
}
