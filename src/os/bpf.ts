import { ERRNO, errnoName } from "../abi/errno.ts";
import { KvmIrqError } from "../abi/error.ts";
import {
  AREA,
  HEADER,
  MORE,
  MOST_BYTES,
  READ,
  READ_TYPE,
  readerProgram,
  readerTypes,
  STEP_TYPE,
  STEPS,
} from "./bpf-program.ts";
import { lackingForBpf } from "./capabilities.ts";
import { readText } from "./files.ts";
import { bindLibc, bindRepeatable, close, I32, I64, type LibcResult, NativeBuffer } from "./libc.ts";

/** bpf(2) by the machine's own number: <asm/unistd_64.h>, <asm-generic/unistd.h>. */
const NR_BPF = process.arch === "arm64" ? 280 : 321;
/** `enum bpf_cmd`. */
const MAP_CREATE = 0;
const PROG_LOAD = 5;
const PROG_TEST_RUN = 10;
const BTF_LOAD = 18;
/** `BPF_MAP_TYPE_ARRAY` and `BPF_PROG_TYPE_SYSCALL`, which 5.14 brought. */
const ARRAY = 2;
const SYSCALL = 31;
const F_MMAPABLE = 1 << 10;
const F_SLEEPABLE = 1 << 4;
/** What the kernel lets use `bpf_probe_read_kernel`: `license_is_gpl_compatible()`. */
const LICENSE = "Dual MIT/GPL";
const NAME = "kvm_irq_read";
/** The attributes' structure, as far as it is used: what is behind is zero to the kernel. */
const ATTR_SIZE = 112;
const LOG_SIZE = 1 << 16;

/** Of <sys/mman.h>. */
const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;

const syscall = bindLibc("syscall", [I64, I64, I64, I64], I64);
const runSyscall = bindRepeatable("syscall", [I64, I64, I64, I64], I64);
const mmap = bindLibc("mmap", [I64, I64, I32, I32, I32, I64], I64);
const munmap = bindLibc("munmap", [I64, I64]);
const memcpy = bindRepeatable("memcpy", [I64, I64, I64], I64);

/** Where a read begins: an address, what an earlier one of the batch has read, or this thread's `task_struct`. */
export type Base = bigint | KernelRead | "current";

/** One read of kernel memory, and once its batch has run, what came of it. */
export class KernelRead {
  /** What was read; of a list, its entries one after the other. Nothing when there is no memory to read there. */
  bytes: Buffer | undefined;
  /** Whether a list has more entries than its limit allowed. */
  more = false;

  readonly base: Base;
  readonly offset: number;
  readonly length: number;
  readonly list: { delta: number; limit: number } | undefined;

  constructor(base: Base, offset: number, length: number, list?: { delta: number; limit: number }) {
    this.base = base;
    this.offset = offset;
    this.length = length;
    this.list = list;
  }

  /** The number that was read, of up to eight bytes, unsigned; 0 when it could not be read. */
  get value(): bigint {
    return this.bytes === undefined ? 0n : unsigned(this.bytes);
  }
}

function unsigned(bytes: Buffer): bigint {
  let value = 0n;
  for (let index = Math.min(bytes.length, 8) - 1; index >= 0; index--)
    value = (value << 8n) | BigInt(bytes[index]!);
  return value;
}

/** Reads that are done together, in one system call as a rule. They are not done at one moment. */
export class Batch {
  readonly #memory: KernelMemory;
  #reads: KernelRead[] = [];

  constructor(memory: KernelMemory) {
    this.#memory = memory;
  }

  /**
   * Adds a read.
   *
   * @param offset what is added to the base, in bytes. @param length in bytes, up to 16383.
   */
  read(base: Base, offset: number, length: number): KernelRead {
    return this.#add(new KernelRead(base, offset, length));
  }

  /**
   * Adds a walk along a `list_head` or an `hlist_head`, which is at the base with `offset` added.
   *
   * @param length how many bytes to read of each entry, `delta` bytes from its link; negative to go back from it.
   * @param limit how many entries at most.
   */
  list(base: Base, offset: number, of: { length: number; delta: number; limit: number }): KernelRead {
    return this.#add(new KernelRead(base, offset, of.length, { delta: of.delta, limit: of.limit }));
  }

  #add(read: KernelRead): KernelRead {
    if (read.length > MOST_BYTES) throw new Error(`${read.length} bytes are more than one read can take`);
    this.#reads.push(read);
    return read;
  }

  /** Does all that was added since the last time. @throws KvmIrqError `bpf-unavailable`. */
  run(): void {
    const reads = this.#reads;
    this.#reads = [];
    for (let done = 0; done < reads.length; )
      done += this.#memory.perform(reads.slice(done, done + MOST_READS));
  }
}

/** So many that half of the map is for what they read. */
const MOST_READS = Math.floor(AREA / 2 / READ.size);

/**
 * Kernel memory, read by a BPF program: bpf(2), `BPF_PROG_TYPE_SYSCALL`. Nothing is attached, pinned or written but the
 * program's own map, and all of it goes when this process ends.
 *
 * It takes CAP_BPF and CAP_PERFMON, and Linux 5.14.
 */
export class KernelMemory {
  readonly #map: number;
  readonly #program: number;
  /** Where the map is in this process, and a copy that JavaScript can get at. */
  readonly #area: number;
  readonly #copy = new NativeBuffer(AREA);
  readonly #run = new NativeBuffer(ATTR_SIZE);
  #open = true;

  /** @throws KvmIrqError `bpf-unavailable` where this kernel or this user can't. */
  constructor() {
    this.#map = createMap(AREA, 1, F_MMAPABLE);
    try {
      this.#program = loadProgram(this.#map);
    } catch (error) {
      close(this.#map);
      throw error;
    }
    const { value, errno } = mmap(0, AREA, PROT_READ_WRITE, MAP_SHARED, this.#map, 0);
    this.#area = value;
    if (value === -1) {
      this.#closeDescriptors();
      throw refused("mapping its memory", errno);
    }
    this.#run.view.setUint32(0, this.#program, true);
  }

  /** A list of reads to fill and run. */
  batch(): Batch {
    return new Batch(this);
  }

  /** May be called again. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    munmap(this.#area, AREA);
    this.#closeDescriptors();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #closeDescriptors(): void {
    close(this.#program);
    close(this.#map);
  }

  /**
   * For {@link Batch}: does as many reads as there is room for.
   *
   * @returns how many were done: at least one.
   */
  perform(reads: readonly KernelRead[]): number {
    if (!this.#open) throw new Error("kernel memory was closed");
    const end = HEADER.size + reads.length * READ.size;
    this.#write(reads, end);
    memcpy(this.#area, this.#copy.address, end);
    while (this.#runOnce() === STEPS);
    memcpy(this.#copy.address, this.#area, end);
    const { view, bytes } = this.#copy;
    const fill = view.getUint32(HEADER.fill, true);
    memcpy(this.#copy.address + end, this.#area + end, fill - end);
    const data = Buffer.from(bytes.subarray(end, fill));
    const reached = (view.getUint32(HEADER.pc, true) - HEADER.size) / READ.size;
    const done = reads.slice(0, reached).findIndex((read, index) => {
      take(read, view, HEADER.size + index * READ.size, data, end);
      return index > 0 && wasCut(read);
    });
    return done === -1 ? reached : done;
  }

  #write(reads: readonly KernelRead[], end: number): void {
    const { view, bytes } = this.#copy;
    bytes.fill(0, 0, end);
    view.setUint32(HEADER.pc, HEADER.size, true);
    view.setUint32(HEADER.end, end, true);
    view.setUint32(HEADER.fill, end, true);
    view.setUint32(HEADER.taskAt, HEADER.task, true);
    const places = new Map<KernelRead, number>();
    for (const [index, read] of reads.entries()) {
      const at = HEADER.size + index * READ.size;
      places.set(read, at);
      view.setBigInt64(at + READ.offset, BigInt(read.offset), true);
      view.setUint32(at + READ.length, read.length, true);
      view.setBigInt64(at + READ.delta, BigInt(read.list?.delta ?? 0), true);
      view.setUint32(at + READ.limit, read.list?.limit ?? 0, true);
      const { base } = read;
      if (base === "current") view.setUint32(at + READ.from, HEADER.taskAt, true);
      else if (typeof base === "bigint") view.setBigUint64(at + READ.base, base, true);
      else if (places.has(base)) view.setUint32(at + READ.from, places.get(base)! + READ.at, true);
      else view.setBigUint64(at + READ.base, base.value, true);
    }
  }

  /** @returns how many steps were done; with fewer than all it can't go on. */
  #runOnce(): number {
    const { value, errno } = runSyscall(NR_BPF, PROG_TEST_RUN, this.#run.address, ATTR_SIZE);
    if (value !== 0) throw refused("running the program", errno);
    return this.#run.view.getUint32(4, true);
  }
}

/** What came of a read. @param data what was read, which stands at `start` in the map. */
function take(read: KernelRead, view: DataView, at: number, data: Buffer, start: number): void {
  const error = view.getInt32(at + READ.error, true);
  const from = view.getUint32(at + READ.at, true) - start;
  const count = read.list === undefined ? 1 : view.getUint32(at + READ.count, true);
  read.more = error === MORE;
  read.bytes = error < 0 ? undefined : data.subarray(from, from + count * read.length);
}

/** Whether a list was ended by the map's end; at the beginning of one it has all the room that there is. */
function wasCut({ list, more, bytes, length }: KernelRead): boolean {
  return list !== undefined && more && (bytes?.length ?? 0) < list.limit * length;
}

function createMap(size: number, count: number, flags: number): number {
  const attr = new NativeBuffer(ATTR_SIZE);
  for (const [index, word] of [ARRAY, 4, size, count, flags].entries())
    attr.view.setUint32(4 * index, word, true);
  attr.bytes.write(NAME, 28);
  const { value, errno } = syscall(NR_BPF, MAP_CREATE, attr.address, ATTR_SIZE);
  if (value < 0) throw refused("making a map", errno);
  return value;
}

function loadTypes(): number {
  const types = nativeCopy(readerTypes());
  const attr = new NativeBuffer(ATTR_SIZE);
  attr.view.setBigUint64(0, BigInt(types.address), true);
  attr.view.setUint32(16, types.bytes.length, true);
  const { value, errno } = syscall(NR_BPF, BTF_LOAD, attr.address, ATTR_SIZE);
  if (value < 0) throw refused("loading the program's types", errno);
  return value;
}

function loadProgram(map: number): number {
  // The program keeps what it uses.
  const steps = createMap(8, STEPS, 0);
  try {
    const types = loadTypes();
    try {
      return load(map, steps, types);
    } finally {
      close(types);
    }
  } finally {
    close(steps);
  }
}

function load(map: number, steps: number, types: number): number {
  const { code, step } = readerProgram(map, steps);
  const program = nativeCopy(code);
  const license = nativeCopy(Buffer.from(`${LICENSE}\0`));
  // Where each function begins, and its type.
  const functions = nativeCopy(Buffer.from(Uint32Array.of(0, READ_TYPE, step, STEP_TYPE).buffer));
  const attr = new NativeBuffer(ATTR_SIZE);
  const { view } = attr;
  view.setUint32(0, SYSCALL, true);
  view.setUint32(4, code.length / 8, true);
  view.setBigUint64(8, BigInt(program.address), true);
  view.setBigUint64(16, BigInt(license.address), true);
  view.setUint32(44, F_SLEEPABLE, true);
  attr.bytes.write(NAME, 48);
  view.setUint32(72, types, true);
  view.setUint32(76, 8, true);
  view.setBigUint64(80, BigInt(functions.address), true);
  view.setUint32(88, 2, true);
  const { value, errno } = whenNotInterrupted(() => syscall(NR_BPF, PROG_LOAD, attr.address, ATTR_SIZE));
  if (value >= 0) return value;
  throw refused("loading the program", errno, verifierLog(attr));
}

/** How often a load is tried that signals interrupt. */
const MOST_TRIES = 50;

/** Loads a program: with a signal waiting for this thread, a verifier gives up with EAGAIN, as libbpf knows too. */
export function whenNotInterrupted(load: () => LibcResult): LibcResult {
  for (let tries = 1; ; tries++) {
    const result = load();
    if (result.value >= 0 || result.errno !== ERRNO.EAGAIN || tries === MOST_TRIES) return result;
  }
}

function nativeCopy(bytes: Buffer): NativeBuffer {
  const copy = new NativeBuffer(bytes.length);
  bytes.copy(copy.bytes);
  return copy;
}

/** What the kernel says against the program: the last line of the log, without addresses. */
function verifierLog(attr: NativeBuffer): string | undefined {
  const log = new NativeBuffer(LOG_SIZE);
  attr.view.setUint32(24, 1, true);
  attr.view.setUint32(28, LOG_SIZE, true);
  attr.view.setBigUint64(32, BigInt(log.address), true);
  const { value } = syscall(NR_BPF, PROG_LOAD, attr.address, ATTR_SIZE);
  if (value >= 0) close(value);
  const lines = log.bytes
    .toString("latin1", 0, Math.max(log.bytes.indexOf(0), 0))
    .trim()
    .split("\n");
  const said = lines.filter((line) => line !== "" && !line.startsWith("processed ")).at(-1);
  return said?.replace(/0x[0-9a-f]{9,}/g, "0x...");
}

/** The error for what bpf(2) refused, by why it does so. */
function refused(what: string, errno: number, log?: string): KvmIrqError {
  const name = errnoName(errno);
  const [why, hint] = reason(errno, log);
  return new KvmIrqError("bpf-unavailable", `kernel memory can't be read: ${why}`, {
    hint,
    details: { syscall: "bpf", step: what, errno, errno_name: name, ...(log === undefined ? {} : { log }) },
  });
}

function reason(errno: number, log: string | undefined): [why: string, hint: string] {
  if (isLockedDown()) {
    return [
      "this kernel is locked down (confidentiality)",
      "use --via ptrace, or boot with lockdown=integrity or none",
    ];
  }
  // Without CAP_PERFMON alone it is the verifier that refuses.
  if (errno === ERRNO.EPERM || (log !== undefined && lackingForBpf().length > 0)) {
    return [
      "no permission to load a BPF program",
      "run as root on the host, or with CAP_BPF and CAP_PERFMON; or use --via ptrace",
    ];
  }
  if (readText("/proc/sys/net/core/bpf_jit_enable")?.trim() === "0") {
    return [
      "this kernel's BPF compiler is off",
      "set net.core.bpf_jit_enable=1 with sysctl, or use --via ptrace",
    ];
  }
  if (errno === ERRNO.ENOSYS) return ["this kernel has no bpf(2)", "use --via ptrace"];
  if (errno === ERRNO.EMFILE || errno === ERRNO.ENFILE || errno === ERRNO.ENOMEM) {
    return [`out of memory or descriptors (${errnoName(errno)})`, "close something, and run it again"];
  }
  const verifier = log === undefined ? "" : `: ${log}`;
  return [
    `this kernel refused the BPF program (${errnoName(errno)})${verifier}`,
    "use --via ptrace, or Linux 5.14 or later",
  ];
}

/** Whether the kernel keeps its memory from root too: kernel_lockdown(7). Nothing is known where it can't be read. */
function isLockedDown(): boolean {
  return readText("/sys/kernel/security/lockdown")?.includes("[confidentiality]") === true;
}
