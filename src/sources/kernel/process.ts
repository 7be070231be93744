import { KvmIrqError } from "../../abi/error.ts";
import type { Base, Batch, KernelMemory, KernelRead } from "../../os/bpf.ts";
import {
  HeldProcess,
  type KvmFds,
  otherThread,
  readKvmFds,
  readStartTime,
  type ThreadId,
} from "../../os/proc.ts";
import type { FieldRead, KernelTypes } from "./types.ts";

/** A descriptor of a VM, and where its `struct kvm` is. */
export interface KernelVm {
  fd: number;
  address: bigint;
}

/** A descriptor of a vCPU, and where its `struct kvm_vcpu` and its VM's `struct kvm` are. */
export interface KernelVcpu extends KernelVm {
  vcpu: number;
  vm: bigint;
}

/** The KVM descriptors of a process. Two that are copies of each other have one address. */
export interface KernelFiles {
  vms: KernelVm[];
  vcpus: KernelVcpu[];
}

/** How often a process is looked for: the numbers are moved from node to node when there are more of them, or fewer. */
const MOST_TRIES = 5;

/**
 * A process as the kernel has it. Its folder in /proc is held, so that a process that gets the same pid later is
 * never taken for it; nothing is done to the process itself.
 */
export class KernelProcess {
  readonly pid: number;
  readonly #memory: KernelMemory;
  readonly #types: KernelTypes;
  readonly #held: HeldProcess;
  /** The thread that was found last, and its `struct pid`, which stays while its folder in /proc is held. */
  #found: { tid: number; pid: bigint } | undefined;

  /** @throws KvmIrqError `no-process` when there is no such process. */
  constructor(memory: KernelMemory, types: KernelTypes, pid: number) {
    this.pid = pid;
    this.#memory = memory;
    this.#types = types;
    try {
      this.#held = new HeldProcess(pid);
    } catch {
      throw gone(pid);
    }
  }

  /**
   * Its descriptors of VMs and vCPUs, with what stands behind each. An address is good for as long as the process has
   * the descriptor: to be asked for again with every reading, which {@link vm} does for one.
   *
   * @throws KvmIrqError `no-process` when it has ended; `bpf-unavailable` when the kernel's structures are not as
   *   they are known.
   */
  kvmFiles(): KernelFiles {
    const fds = readKvmFds(this.#held.id);
    if (fds === undefined) throw gone(this.pid);
    return this.#look(fds);
  }

  /** Where the `struct kvm` of one descriptor is; nothing when that is no VM. @throws as {@link kvmFiles}. */
  vm(fd: number): bigint | undefined {
    return this.#look({ vms: [fd], vcpus: [] }).vms[0]?.address;
  }

  #look(fds: KvmFds): KernelFiles {
    const { id } = this.#held;
    for (let tries = 0; tries < MOST_TRIES; tries++) {
      const tid = otherThread(id) ?? this.pid;
      const found = this.#found?.tid === tid ? this.#found.pid : undefined;
      const looked = this.#files(
        fds,
        (batch) => found ?? findPid(this.#memory, this.#types, batch, tid),
        tid === this.pid ? id : `${id}/task/${tid}`,
      );
      this.#found = looked && { tid, pid: looked.pid };
      if (looked !== undefined) return looked.files;
    }
    throw readStartTime(id) === undefined ? gone(this.pid) : notFound(this.pid);
  }

  /** @param find gives the thread's `struct pid`. @returns nothing when that is not the thread's. */
  #files(
    { vms, vcpus }: KvmFds,
    find: (batch: Batch) => KernelRead | bigint,
    thread: ThreadId,
  ): { files: KernelFiles; pid: bigint } | undefined {
    const batch = this.#memory.batch();
    const pid = find(batch);
    const task = new Task(this.#types, batch, pid);
    const files = new OpenFiles(this.#types, batch, task);
    const asVm = vms.map((fd) => ({ fd, file: files.add(fd) }));
    const asVcpu = vcpus.map(({ fd, vcpu }) => {
      const file = files.add(fd);
      return { fd, vcpu, file, vm: this.#types.readKnown(batch, file.privateData, "kvm_vcpu.kvm") };
    });
    batch.run();
    // Only now: what /proc says is of the process in whose folder it stands, or there is none any more.
    if (!task.isOf(thread)) return undefined;
    return {
      pid: typeof pid === "bigint" ? pid : pid.value,
      files: {
        vms: asVm
          .filter(({ file }) => file.name === "kvm-vm")
          .map(({ fd, file }) => ({ fd, address: file.privateData.value })),
        vcpus: asVcpu
          .filter(({ file, vcpu, vm }) => file.name === `kvm-vcpu:${vcpu}` && vm.read.value !== 0n)
          .map(({ fd, vcpu, file, vm }) => ({
            fd,
            vcpu,
            address: file.privateData.value,
            vm: vm.read.value,
          })),
      },
    };
  }

  /** May be called again. */
  close(): void {
    this.#held.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** The bits of an entry of an xarray that say what it is, and those of another node: <linux/xarray.h>. */
const ENTRY_TAG = 3n;
const NODE_TAG = 2n;
/** `PIDTYPE_PID` of <linux/pid.h>: the thread that has the number. */
const PIDTYPE_PID = 0;
const NANOSECONDS_PER_TICK = 10_000_000n;

/** A thread's `task_struct` among what is read together. */
class Task {
  readonly #types: KernelTypes;
  /** What the pid's list begins with: the link in the task. */
  readonly #link: KernelRead;
  readonly #started: KernelRead;
  readonly #selfStarted: KernelRead;

  constructor(types: KernelTypes, batch: Batch, pid: Base) {
    this.#types = types;
    const first = types.known(`pid.tasks[${PIDTYPE_PID}].first`);
    this.#link = batch.read(pid, first.offset, first.size);
    this.#started = this.read(batch, "start_boottime");
    const { offset, size } = types.known("task_struct.start_boottime");
    this.#selfStarted = batch.read("current", offset, size);
  }

  /** Adds the read of a field of the task. */
  read(batch: Batch, field: string): KernelRead {
    const link = this.#types.known(`task_struct.pid_links[${PIDTYPE_PID}]`);
    const { offset, size } = this.#types.known(`task_struct.${field}`);
    return batch.read(this.#link, offset - link.offset, size);
  }

  /**
   * Whether it is the thread of that folder, by when both were started. A time namespace moves what /proc shows of
   * each process by the same.
   */
  isOf(thread: ThreadId): boolean {
    const shown = readStartTime(thread);
    const selfShown = readStartTime("self");
    if (shown === undefined || selfShown === undefined || this.#link.value === 0n) return false;
    const apart = this.#started.value - this.#selfStarted.value;
    const shownApart = BigInt(shown - selfShown) * NANOSECONDS_PER_TICK;
    const difference = apart - shownApart;
    return difference > -NANOSECONDS_PER_TICK && difference < NANOSECONDS_PER_TICK;
  }
}

/**
 * The way to the `struct pid` of a thread by its number, as this process's PID namespace has it: `pid_namespace.idr`, in
 * which /proc looks it up as well.
 *
 * @param batch what is to be read of it, too.
 */
function findPid(memory: KernelMemory, types: KernelTypes, batch: Batch, tid: number): KernelRead {
  const { root, shift, base } = readIdr(memory, types);
  const { offset, array } = types.known("xa_node.slots");
  const { count, stride } = array ?? { count: 0, stride: 0 };
  const bits = Math.log2(count);
  if ((root & ENTRY_TAG) !== NODE_TAG || !(bits >= 1 && Number.isInteger(bits)))
    throw unfit("pid_namespace.idr");
  const index = tid - base;
  // A number beyond all that there are is nobody's.
  let entry: Base = index < 2 ** (shift + bits) ? root : 0n;
  for (let at = shift; at >= 0; at -= bits) {
    const slot = Math.floor(index / 2 ** at) % count;
    entry = batch.read(entry, offset + slot * stride - Number(NODE_TAG), 8);
  }
  return entry as KernelRead;
}

/** The root of the numbers of this process's PID namespace, how many bits are below it, and the least number. */
function readIdr(memory: KernelMemory, types: KernelTypes): { root: bigint; shift: number; base: number } {
  const own = memory.batch();
  const pid = types.readKnown(own, "current", "task_struct.thread_pid").read;
  const level = types.readKnown(own, pid, "pid.level");
  own.run();
  const batch = memory.batch();
  const { stride = 0 } = types.known("pid.numbers").array ?? {};
  const { offset } = types.known("pid.numbers[0].ns");
  const namespace = batch.read(pid, offset + (level.number ?? 0) * stride, 8);
  const head = types.readKnown(batch, namespace, "pid_namespace.idr.idr_rt.xa_head").read;
  const base = types.readKnown(batch, namespace, "pid_namespace.idr.idr_base");
  const shift = batch.read(head, types.known("xa_node.shift").offset - Number(NODE_TAG), 1);
  batch.run();
  return { root: head.value, shift: Number(shift.value), base: base.number ?? 0 };
}

/** A descriptor's file. */
interface OpenFile {
  /** What its kind keeps of it: of a VM its `struct kvm`. */
  privateData: KernelRead;
  /** What /proc shows behind `anon_inode:`. */
  readonly name: string | undefined;
}

const NAME_BYTES = 24;

/** The descriptors of a task among what is read together. */
class OpenFiles {
  readonly #types: KernelTypes;
  readonly #batch: Batch;
  readonly #table: KernelRead;
  readonly #count: FieldRead;

  constructor(types: KernelTypes, batch: Batch, task: Task) {
    this.#types = types;
    this.#batch = batch;
    const files = task.read(batch, "files");
    this.#count = types.readKnown(batch, files, "files_struct.fdt->max_fds");
    this.#table = types.readKnown(batch, files, "files_struct.fdt->fd").read;
  }

  add(fd: number): OpenFile {
    const file = this.#batch.read(this.#table, 8 * fd, 8);
    const privateData = this.#types.readKnown(this.#batch, file, "file.private_data").read;
    const text = this.#types.readKnown(this.#batch, file, "file.f_path.dentry->d_name.name").read;
    const name = this.#batch.read(text, 0, NAME_BYTES);
    const count = this.#count;
    return {
      privateData,
      get name() {
        const isOpen = fd < (count.number ?? 0);
        return isOpen ? name.bytes?.toString("latin1").split("\0", 1)[0] : undefined;
      },
    };
  }
}

function gone(pid: number): KvmIrqError {
  return new KvmIrqError("no-process", `process ${pid} has exited`, {
    hint: "`kvm-irq list` shows the VMs of this host",
    details: { pid },
  });
}

/** It is in /proc, and not where this process's PID namespace has it: /proc is then another namespace's. */
function notFound(pid: number): KvmIrqError {
  return new KvmIrqError(
    "bpf-unavailable",
    `process ${pid} is not in the PID namespace that kvm-irq runs in`,
    {
      hint: "mount the /proc of this PID namespace, or use --via ptrace",
      details: { pid },
    },
  );
}

function unfit(what: string): KvmIrqError {
  return new KvmIrqError(
    "bpf-unavailable",
    `this kernel's processes can't be found: ${what} is not as it is known`,
    {
      hint: "use --via ptrace",
    },
  );
}
