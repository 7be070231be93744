/**
 * The BPF program that reads kernel memory, and the assembler for it: Documentation/bpf/standardization/
 * instruction-set.rst, <linux/bpf.h>.
 *
 * It goes through a list of reads in a map and puts what it reads behind them, a step for each element of another map:
 * `bpf_for_each_map_elem` (5.13) calls a function for each, which a verifier looks through once, where a plain loop
 * costs it 50 ms. All that the program knows is in the map, so it can be run again to go on.
 */

/** The map: a header, the reads, then what was read. In bytes. */
export const AREA = 1 << 18;
/** The most bytes of one read. */
export const MOST_BYTES = 0x3fff;
/** How many reads, or entries of a list, one run does: the elements of the second map. */
export const STEPS = 4096;

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

/** `enum bpf_func_id`. */
const GET_CURRENT_TASK = 35;
const PROBE_READ_KERNEL = 113;
const FOR_EACH_MAP_ELEM = 164;
/** What a step returns: whether it was the last one. */
const GO_ON = 0;
const STOP = 1;

/** Widths of a load or store: `BPF_W` and `BPF_DW`. */
const U32 = 0x00;
const U64 = 0x18;
type Width = typeof U32 | typeof U64;
/** `BPF_JMP | BPF_K`, and `BPF_X` for a register. */
const JUMP = { always: 0x05, eq: 0x15, gt: 0x25, ge: 0x35, ne: 0x55 } as const;
/** What an immediate of 64 bits stands for: a map, its one value's address, a function. */
const PSEUDO = { map: 1, mapValue: 2, function: 4 } as const;
const [R0, R1, R2, R3, R4, R6, R8, R9, R10] = [0, 1, 2, 3, 4, 6, 8, 9, 10] as const;

class Assembler {
  readonly #words: [code: number, dst: number, src: number, offset: number, imm: number][] = [];
  readonly #labels = new Map<string, number>();
  readonly #jumps = new Map<number, string>();
  readonly #references = new Map<number, string>();

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
  /** `BPF_LD_IMM64`. */
  refer(dst: number, to: keyof typeof PSEUDO, imm: number): void {
    this.#emit(0x18, dst, PSEUDO[to], 0, imm);
    this.#emit(0);
  }
  /** The address of the function that begins at a label further down. */
  referTo(dst: number, label: string): void {
    this.#references.set(this.#words.length, label);
    this.refer(dst, "function", 0);
  }
  /** Which instruction a label is at. */
  placeOf(label: string): number {
    return this.#labels.get(label)!;
  }

  bytes(): Buffer {
    const bytes = Buffer.alloc(8 * this.#words.length);
    for (const [index, [code, dst, src, offset, imm]] of this.#words.entries()) {
      const label = this.#jumps.get(index);
      const jump = label === undefined ? offset : this.placeOf(label) - index - 1;
      const reference = this.#references.get(index);
      bytes.writeUInt8(code, 8 * index);
      bytes.writeUInt8(dst | (src << 4), 8 * index + 1);
      bytes.writeInt16LE(jump, 8 * index + 2);
      bytes.writeInt32LE(reference === undefined ? imm : this.placeOf(reference) - index - 1, 8 * index + 4);
    }
    return bytes;
  }
}

/**
 * The program.
 *
 * @param map the descriptor of its map, which has one value of {@link AREA} bytes. @param steps that of a map with
 *   {@link STEPS} elements. @returns its bytes, and which instruction its function begins at.
 */
export function readerProgram(map: number, steps: number): { code: Buffer; step: number } {
  const asm = new Assembler();
  asm.call(GET_CURRENT_TASK);
  asm.refer(R6, "mapValue", map);
  asm.store(U64, R6, HEADER.task, R0);
  asm.refer(R1, "map", steps);
  asm.referTo(R2, "step");
  asm.set(R3, 0);
  asm.set(R4, 0);
  // It returns how many steps there were.
  asm.call(FOR_EACH_MAP_ELEM);
  asm.exit();
  asm.label("step");
  asm.refer(R6, "mapValue", map);
  step(asm);
  return { code: asm.bytes(), step: asm.placeOf("step") };
}

/** One read, or one entry of a list. */
function step(asm: Assembler): void {
  asm.load(U32, R8, R6, HEADER.pc);
  asm.load(U32, R1, R6, HEADER.end);
  asm.jumpRegister("ge", "stop", R8, R1);
  asm.jump("gt", "stop", R8, AREA - READ.size);
  asm.copy(R9, R6);
  asm.addRegister(R9, R8);
  findBase(asm);
  asm.load(U32, R1, R9, READ.limit);
  asm.jump("ne", "list", R1, 0);
  asm.load(U32, R1, R6, HEADER.fill);
  asm.store(U32, R9, READ.at, R1);
  probe(asm, "stop");
  asm.label("done");
  asm.store(U32, R9, READ.error, R0);
  asm.add(R8, READ.size);
  asm.store(U32, R6, HEADER.pc, R8);
  asm.label("go on");
  asm.set(R0, GO_ON);
  asm.exit();
  asm.label("stop");
  asm.set(R0, STOP);
  asm.exit();
  followList(asm);
}

/** R3 = where the read at R9 begins. */
function findBase(asm: Assembler): void {
  asm.load(U64, R3, R9, READ.base);
  asm.load(U32, R1, R9, READ.from);
  asm.jump("eq", "based", R1, 0);
  asm.jump("gt", "stop", R1, AREA - 4);
  asm.copy(R2, R6);
  asm.addRegister(R2, R1);
  asm.load(U32, R1, R2, 0);
  asm.jump("gt", "stop", R1, AREA - 8);
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
  asm.jump("ne", "done", R0, 0);
  asm.load(U64, R3, R9, READ.cursor);
  asm.jump("eq", "done", R3, 0);
  asm.load(U64, R1, R10, -8);
  asm.jumpRegister("eq", "done", R3, R1);
  asm.load(U32, R1, R9, READ.count);
  asm.load(U32, R2, R9, READ.limit);
  asm.jumpRegister("ge", "more", R1, R2);
  asm.load(U64, R1, R9, READ.delta);
  asm.addRegister(R3, R1);
  probe(asm, "more");
  asm.jump("eq", "go on", R0, 0);
  asm.jump("always", "done");
  asm.label("more");
  asm.set(R0, MORE);
  asm.jump("always", "done");
}

/** The types of the program's two functions, which it takes to call one for each element: `int read()`, `int step()`. */
export function readerTypes(): Buffer {
  const strings = Buffer.from("\0int\0read\0step\0");
  const [int, read, step] = [1, 5, 10];
  const types = [
    [int, 1 << 24, 4, (1 << 24) | 32], // INT, signed
    [0, 13 << 24, 1], // FUNC_PROTO that returns type 1
    [read, (12 << 24) | 1, 2], // FUNC of type 2, BTF_FUNC_GLOBAL
    [step, 12 << 24, 2], // FUNC of type 2, BTF_FUNC_STATIC
  ].flat();
  const size = 4 * types.length;
  const header = [0x0001eb9f, 24, 0, size, size, strings.length];
  return Buffer.concat([Buffer.from(Uint32Array.from([...header, ...types]).buffer), strings]);
}
/** Which of them the functions are. */
export const READ_TYPE = 3;
export const STEP_TYPE = 4;
