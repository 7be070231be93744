/**
 * The BPF program that reads kernel memory, and the assembler for it: Documentation/bpf/standardization/
 * instruction-set.rst, <linux/bpf.h>.
 *
 * It goes through a list of reads in a map and puts what it reads behind them. Its loop has a bound that every
 * verifier since 5.14 sees through, so it may have to be run again; all it knows is in the map.
 */

/** The map: a header, the reads, then what was read. In bytes. */
export const AREA = 1 << 20;
/** The most bytes of one read. */
export const MOST_BYTES = 0xffff;
/** How many reads, or entries of a list, one run does. */
const STEPS = 128;

/**
 * The header. Each is the place of a field, in bytes: the next read and the end of them, where the next bytes go,
 * the `task_struct` of who runs the program, and where that stands, for `from`.
 */
export const HEADER = { pc: 0, end: 4, fill: 8, taskAt: 12, task: 16, size: 24 } as const;
/**
 * A read. It begins at `base`, or where a pointer leads to whose place stands at `from`; `offset` is added. With a
 * `limit`, what is there is a list's head: it is followed, and `length` bytes are read of each entry, `delta` bytes
 * from its link.
 */
export const READ = {
  base: 0,
  offset: 8,
  delta: 16,
  cursor: 24,
  from: 32,
  length: 36,
  limit: 40,
  /** What the program says: how many were read, 0 or an errno, and where the bytes are. */
  count: 44,
  error: 48,
  at: 52,
  size: 56,
} as const;
/** In `error`: the list goes on, but its limit was reached, or the map is full. */
export const MORE = 1;
/** What a run returns: all reads are done, or there is no room for the next one's bytes; or it is to be run again. */
const DONE = 0;
export const AGAIN = 1;

/** `enum bpf_func_id`. */
const GET_CURRENT_TASK = 35;
const PROBE_READ_KERNEL = 113;

/** Widths of a load or store: `BPF_W` and `BPF_DW`. */
const U32 = 0x00;
const U64 = 0x18;
type Width = typeof U32 | typeof U64;
/** `BPF_JMP | BPF_K`, and `BPF_X` for a register. */
const JUMP = { always: 0x05, eq: 0x15, gt: 0x25, ge: 0x35, ne: 0x55, lt: 0xa5 } as const;
const [R0, R1, R2, R3, R6, R7, R8, R9, R10] = [0, 1, 2, 3, 6, 7, 8, 9, 10] as const;

class Assembler {
  readonly #words: [code: number, dst: number, src: number, offset: number, imm: number][] = [];
  readonly #labels = new Map<string, number>();
  readonly #jumps = new Map<number, string>();

  label(name: string): void {
    this.#labels.set(name, this.#words.length);
  }
  #emit(code: number, dst = 0, src = 0, offset = 0, imm = 0): void {
    this.#words.push([code, dst, src, offset, imm]);
  }
  load(width: Width, dst: number, src: number, offset: number): void {
    this.#emit(0x61 | width, dst, src, offset);
  }
  store(width: Width, dst: number, offset: number, src: number): void {
    this.#emit(0x63 | width, dst, src, offset);
  }
  set(dst: number, imm: number): void {
    this.#emit(0xb7, dst, 0, 0, imm);
  }
  copy(dst: number, src: number): void {
    this.#emit(0xbf, dst, src);
  }
  add(dst: number, imm: number): void {
    this.#emit(0x07, dst, 0, 0, imm);
  }
  and(dst: number, imm: number): void {
    this.#emit(0x57, dst, 0, 0, imm);
  }
  addRegister(dst: number, src: number): void {
    this.#emit(0x0f, dst, src);
  }
  jump(when: keyof typeof JUMP, label: string, dst = 0, imm = 0): void {
    this.#jumps.set(this.#words.length, label);
    this.#emit(JUMP[when], dst, 0, 0, imm);
  }
  jumpRegister(when: keyof typeof JUMP, label: string, dst: number, src: number): void {
    this.#jumps.set(this.#words.length, label);
    this.#emit(JUMP[when] | 0x08, dst, src);
  }
  call(helper: number): void {
    this.#emit(0x85, 0, 0, 0, helper);
  }
  exit(): void {
    this.#emit(0x95);
  }
  /** `BPF_LD_IMM64` of `BPF_PSEUDO_MAP_VALUE`: the address of an array map's one value. */
  mapValue(dst: number, map: number): void {
    this.#emit(0x18, dst, 2, 0, map);
    this.#emit(0);
  }

  bytes(): Buffer {
    const bytes = Buffer.alloc(8 * this.#words.length);
    for (const [index, [code, dst, src, offset, imm]] of this.#words.entries()) {
      const label = this.#jumps.get(index);
      const jump = label === undefined ? offset : this.#labels.get(label)! - index - 1;
      bytes.writeUInt8(code, 8 * index);
      bytes.writeUInt8(dst | (src << 4), 8 * index + 1);
      bytes.writeInt16LE(jump, 8 * index + 2);
      bytes.writeInt32LE(imm, 8 * index + 4);
    }
    return bytes;
  }
}

/** The program's bytes. @param map the descriptor of its map, which has one value of {@link AREA} bytes. */
export function readerProgram(map: number): Buffer {
  const asm = new Assembler();
  asm.call(GET_CURRENT_TASK);
  asm.mapValue(R6, map);
  asm.store(U64, R6, HEADER.task, R0);
  asm.set(R7, 0);
  asm.label("step");
  asm.load(U32, R8, R6, HEADER.pc);
  asm.load(U32, R1, R6, HEADER.end);
  asm.set(R0, DONE);
  asm.jumpRegister("ge", "exit", R8, R1);
  asm.jump("gt", "exit", R8, AREA - READ.size);
  asm.copy(R9, R6);
  asm.addRegister(R9, R8);
  findBase(asm);
  asm.load(U32, R1, R9, READ.limit);
  asm.jump("ne", "list", R1, 0);
  asm.load(U32, R1, R6, HEADER.fill);
  asm.store(U32, R9, READ.at, R1);
  probe(asm, "exit");
  asm.store(U32, R9, READ.error, R0);
  asm.label("next");
  asm.add(R8, READ.size);
  asm.store(U32, R6, HEADER.pc, R8);
  asm.label("again");
  asm.add(R7, 1);
  asm.jump("lt", "step", R7, STEPS);
  asm.set(R0, AGAIN);
  asm.label("exit");
  asm.exit();
  followList(asm);
  return asm.bytes();
}

/** R3 = where the read at R9 begins. */
function findBase(asm: Assembler): void {
  asm.load(U64, R3, R9, READ.base);
  asm.load(U32, R1, R9, READ.from);
  asm.jump("eq", "based", R1, 0);
  asm.jump("gt", "exit", R1, AREA - 4);
  asm.copy(R2, R6);
  asm.addRegister(R2, R1);
  asm.load(U32, R1, R2, 0);
  asm.jump("gt", "exit", R1, AREA - 8);
  asm.copy(R2, R6);
  asm.addRegister(R2, R1);
  asm.load(U64, R3, R2, 0);
  asm.label("based");
  asm.load(U64, R1, R9, READ.offset);
  asm.addRegister(R3, R1);
}

/** Reads from R3 to where the map has room, and counts it. R0 = 0 or an errno, negative; then the bytes are zero. */
function probe(asm: Assembler, full: string): void {
  asm.load(U32, R1, R6, HEADER.fill);
  asm.jump("gt", full, R1, AREA - MOST_BYTES);
  asm.load(U32, R2, R9, READ.length);
  asm.and(R2, MOST_BYTES);
  asm.copy(R0, R1);
  asm.addRegister(R0, R2);
  asm.store(U32, R6, HEADER.fill, R0);
  asm.load(U32, R0, R9, READ.count);
  asm.add(R0, 1);
  asm.store(U32, R9, READ.count, R0);
  asm.copy(R0, R6);
  asm.addRegister(R0, R1);
  asm.copy(R1, R0);
  asm.call(PROBE_READ_KERNEL);
}

/** The next entry of the list whose head is at R3: a `list_head` ends at its head, an `hlist` at 0. */
function followList(asm: Assembler): void {
  asm.label("list");
  asm.store(U64, R10, -8, R3);
  asm.load(U64, R1, R9, READ.cursor);
  asm.jump("ne", "follow", R1, 0);
  asm.load(U32, R1, R6, HEADER.fill);
  asm.store(U32, R9, READ.at, R1);
  asm.copy(R1, R3);
  asm.label("follow");
  asm.copy(R3, R1);
  asm.copy(R1, R9);
  asm.add(R1, READ.cursor);
  asm.set(R2, 8);
  asm.call(PROBE_READ_KERNEL);
  asm.jump("ne", "listed", R0, 0);
  asm.load(U64, R3, R9, READ.cursor);
  asm.jump("eq", "listed", R3, 0);
  asm.load(U64, R1, R10, -8);
  asm.jumpRegister("eq", "listed", R3, R1);
  asm.set(R0, MORE);
  asm.load(U32, R1, R9, READ.count);
  asm.load(U32, R2, R9, READ.limit);
  asm.jumpRegister("ge", "listed", R1, R2);
  asm.load(U64, R1, R9, READ.delta);
  asm.addRegister(R3, R1);
  probe(asm, "list-full");
  asm.jump("eq", "again", R0, 0);
  asm.label("listed");
  asm.store(U32, R9, READ.error, R0);
  asm.jump("always", "next");
  asm.label("list-full");
  asm.set(R0, MORE);
  asm.jump("always", "listed");
}
