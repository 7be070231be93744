import { ATTR_SIZE, createArea, loadProgram, NR_BPF, refused } from "./bpf-load.ts";
import { AREA, HEADER, MORE, MOST_BYTES, READ, STEPS } from "./bpf-program.ts";
import { bindLibc, bindRepeatable, close, I32, I64, NativeBuffer } from "./libc.ts";

/** `BPF_PROG_TEST_RUN` of `enum bpf_cmd`. */
const PROG_TEST_RUN = 10;

/** Of <sys/mman.h>. */
const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;

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
  /** Which of the reads it was done with; for {@link KernelMemory}. */
  place = -1;

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
    this.#map = createArea();
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
    const { address, view, bytes } = this.#copy;
    this.#write(reads, end);
    memcpy(this.#area, address, end);
    while (this.#runOnce() === STEPS);
    // All of it as a rule; more where lists have more than one entry.
    const expected = Math.min(
      reads.reduce((size, { length }) => size + length, end),
      AREA,
    );
    memcpy(address, this.#area, expected);
    const fill = view.getUint32(HEADER.fill, true);
    if (fill > expected) memcpy(address + expected, this.#area + expected, fill - expected);
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
    for (let index = 0; index < reads.length; index++) {
      const { base, offset, length, list } = reads[index]!;
      const at = HEADER.size + index * READ.size;
      reads[index]!.place = index;
      setInt64(view, at + READ.offset, offset);
      view.setUint32(at + READ.length, length, true);
      if (list !== undefined) {
        setInt64(view, at + READ.delta, list.delta);
        view.setUint32(at + READ.limit, list.limit, true);
      }
      if (base === "current") view.setUint32(at + READ.from, HEADER.taskAt, true);
      else if (typeof base === "bigint") view.setBigUint64(at + READ.base, base, true);
      else if (base.place < index && reads[base.place] === base)
        view.setUint32(at + READ.from, HEADER.size + base.place * READ.size + READ.at, true);
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

/** A number below 2^31, which is faster than a bigint. */
function setInt64(view: DataView, at: number, value: number): void {
  view.setInt32(at, value, true);
  if (value < 0) view.setInt32(at + 4, -1, true);
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
