import { KvmIrqError } from "../abi/error.ts";

/**
 * BTF, the kernel's own description of its types: Documentation/bpf/btf.rst and <linux/btf.h>.
 *
 * A vmlinux has 5 MB of it and some 150,000 types, of which a reading needs a few dozen: types are only counted
 * through once, and looked at when asked for.
 */

const MAGIC = 0xeb9f;
const HEADER_SIZE = 24;
/** `BTF_KIND_*`. */
const INT = 1;
const PTR = 2;
const ARRAY = 3;
const STRUCT = 4;
const UNION = 5;
const ENUM = 6;
const FWD = 7;
const TYPEDEF = 8;
const FLOAT = 16;
const ENUM64 = 19;
/** `typedef`, `volatile`, `const`, `restrict`, `type_tag`: another name for a type, or the same with a qualifier. */
const ALIASES = new Set([TYPEDEF, 9, 10, 11, 18]);
/** Kinds that are asked for by name, a bit each. */
const NAMED = [STRUCT, UNION, ENUM, TYPEDEF, ENUM64].reduce((bits, kind) => bits | (1 << kind), 0);
/** The words behind the three that every type has, by kind: once, and for each of its `vlen`. */
const ONCE = new Uint8Array([0, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0]);
const EACH = new Uint8Array([0, 0, 0, 0, 3, 3, 2, 0, 0, 0, 0, 0, 0, 2, 0, 3, 0, 0, 0, 3]);
/** `BTF_INT_SIGNED` and `BTF_INT_BOOL`, in bits 24 to 27 of an integer's word. */
const INT_SIGNED = 1;
const INT_BOOL = 4;
/** Far above what a compiler makes; whatever needs more goes round in a circle. */
const MOST_ALIASES = 64;
const MOST_DEPTH = 32;
const MOST_MEMBERS = 200_000;

/** What a field is made of. */
export type FieldKind = "int" | "bool" | "enum" | "float" | "pointer" | "struct" | "union" | "array";

/** Where a field is within a structure, and what it is. */
export interface Field {
  /** Of its first byte, in bytes. */
  offset: number;
  /** In bytes; of a bit-field, the bytes that have all of its bits. */
  size: number;
  kind: FieldKind;
  /** The name of its struct, union or enum, or of what it points to; empty where that has none. */
  type: string;
  signed: boolean;
  /** Of a bit-field: its lowest bit, counted from bit 0 of the byte at `offset`, and how many bits it has. */
  bits?: { offset: number; size: number };
  /** Of an array: how many elements, 0 where the structure does not say, and the bytes of one. */
  array?: { count: number; stride: number };
}

/** One step of a path: a member's name, or an index. */
type Step = string | number;
/** A type at a place, as far as a path has led. */
type Place = { id: number; bit: number; bits: number };

/** One BTF: the kernel's, or a module's on top of the kernel's. */
export class Btf {
  readonly #base: Btf | undefined;
  readonly #words: Uint32Array;
  readonly #strings: Buffer;
  /** The place of each type in `#words`; the first is type `#firstId`. */
  readonly #starts: Uint32Array;
  readonly #firstId: number;
  readonly #firstString: number;
  /** The types that are asked for by name: each one's name, and which it is. */
  readonly #names: readonly number[];
  readonly #named: readonly number[];

  /**
   * @param bytes as in `/sys/kernel/btf/`. @param base what a module's BTF goes on from.
   * @throws KvmIrqError `bpf-unavailable` for bytes that are no BTF.
   */
  constructor(bytes: Buffer, base?: Btf) {
    this.#base = base;
    if (bytes.length < HEADER_SIZE || bytes.readUInt16LE(0) !== MAGIC) throw malformed("no header");
    const [size, typeOffset, typeSize, stringOffset, stringSize] = [4, 8, 12, 16, 20].map((at) =>
      bytes.readUInt32LE(at),
    ) as [number, number, number, number, number];
    const types = part(bytes, size + typeOffset, typeSize);
    // A copy where a typed array can't look at the bytes in their place.
    const aligned = types.byteOffset % 4 === 0 ? types : Buffer.from(new Uint8Array(types).buffer);
    this.#words = new Uint32Array(aligned.buffer, aligned.byteOffset, typeSize >>> 2);
    this.#strings = part(bytes, size + stringOffset, stringSize);
    if (this.#strings.at(-1) !== 0) throw malformed("its strings have no end");
    this.#firstId = base === undefined ? 1 : base.#firstId + base.#starts.length;
    this.#firstString = base === undefined ? 0 : base.#firstString + base.#strings.length;
    const { starts, names, named } = this.#index();
    this.#starts = starts;
    this.#names = names;
    this.#named = named;
  }

  /** Counts the types through: each says by its kind how long it is. */
  #index(): { starts: Uint32Array; names: number[]; named: number[] } {
    const words = this.#words;
    const starts = new Uint32Array(words.length / 3);
    const names: number[] = [];
    const named: number[] = [];
    let count = 0;
    for (let at = 0; at < words.length; count++) {
      const info = words[at + 1]!;
      const kind = (info >>> 24) & 0x1f;
      if (kind === 0 || kind >= ONCE.length) throw malformed(`kind ${kind} is not known`);
      if ((NAMED >>> kind) & 1 && words[at] !== 0) {
        names.push(words[at]!);
        named.push(count);
      }
      starts[count] = at;
      at += 3 + ONCE[kind]! + EACH[kind]! * (info & 0xffff);
      if (at > words.length) throw malformed("a type is cut off");
    }
    return { starts: starts.subarray(0, count), names, named };
  }

  /**
   * Where a field is.
   *
   * @param type a struct, union or typedef by its name. @param steps as `parseSteps` gives them.
   * @returns nothing when this BTF has no such type, or that has no such field.
   */
  field(type: string, steps: readonly Step[]): Field | undefined {
    const id = this.#find(type, [STRUCT, UNION, TYPEDEF]);
    let place: Place | undefined = id === undefined ? undefined : { id, bit: 0, bits: 0 };
    for (const step of steps) {
      if (place === undefined) return undefined;
      place = typeof step === "number" ? this.#element(place, step) : this.#member(place, step);
    }
    return place && this.#describe(place);
  }

  /** The values of an enum by name, in its own order; nothing when there is no such enum. */
  enumeration(name: string): Map<string, number> | undefined {
    const found = this.#find(name, [ENUM, ENUM64, TYPEDEF]);
    const type = found === undefined ? undefined : this.#resolve(found);
    if (type === undefined || (type.kind !== ENUM && type.kind !== ENUM64)) return undefined;
    const { btf, at, kind, flag, length } = type;
    const values = new Map<string, number>();
    for (let index = 0; index < length; index++) {
      const entry = at + 3 + index * (kind === ENUM ? 2 : 3);
      const low = btf.#words[entry + 1]!;
      const high = kind === ENUM64 ? btf.#words[entry + 2]! : flag && low >>> 31 ? 0xffff_ffff : 0;
      values.set(this.#text(btf.#words[entry]!), (flag ? high | 0 : high) * 2 ** 32 + low);
    }
    return values;
  }

  #find(name: string, kinds: readonly number[]): number | undefined {
    const text = Buffer.from(`${name}\0`);
    // A module's types have names among its own strings or the kernel's.
    for (const strings of this.#base === undefined ? [this] : [this, this.#base]) {
      const at = strings.#strings.indexOf(Buffer.concat([Buffer.of(0), text]));
      const isFirst = at < 0 && strings.#strings.subarray(0, text.length).equals(text);
      const offset = strings.#firstString + (isFirst ? 0 : at + 1);
      const found = at < 0 && !isFirst ? undefined : this.#namedBy(offset, kinds);
      if (found !== undefined) return found;
    }
    return this.#base === undefined ? undefined : this.#base.#find(name, kinds);
  }

  #namedBy(name: number, kinds: readonly number[]): number | undefined {
    for (let at = this.#names.indexOf(name); at >= 0; at = this.#names.indexOf(name, at + 1)) {
      const index = this.#named[at]!;
      const kind = (this.#words[this.#starts[index]! + 1]! >>> 24) & 0x1f;
      if (kinds.includes(kind)) return this.#firstId + index;
    }
    return undefined;
  }

  /** A type by its number: which BTF has it, where, and the three words that every type has. */
  #type(id: number) {
    let btf: Btf = this;
    while (btf.#base !== undefined && id < btf.#firstId) btf = btf.#base;
    const at = btf.#starts[id - btf.#firstId];
    if (at === undefined) throw malformed(`there is no type ${id}`);
    const words = btf.#words;
    const info = words[at + 1]!;
    const [name, kind, size] = [words[at]!, (info >>> 24) & 0x1f, words[at + 2]!];
    return { btf, at, name, kind, flag: info >>> 31 === 1, length: info & 0xffff, size };
  }

  /** The type behind typedefs and qualifiers; nothing for void. */
  #resolve(id: number) {
    for (let hop = 0; hop < MOST_ALIASES; hop++) {
      if (id === 0) return undefined;
      const type = this.#type(id);
      if (!ALIASES.has(type.kind)) return type;
      id = type.size;
    }
    throw malformed("typedefs in a circle");
  }

  /** @param left how many members may still be looked at: anonymous ones are looked through. */
  #member({ id, bit }: Place, name: string, depth = 0, left = { members: MOST_MEMBERS }): Place | undefined {
    const type = this.#resolve(id);
    if (type === undefined || (type.kind !== STRUCT && type.kind !== UNION)) return undefined;
    if (depth > MOST_DEPTH) throw malformed("structures in a circle");
    const { btf, at, flag, length } = type;
    const wanted = Buffer.from(`${name}\0`);
    for (let member = at + 3; member < at + 3 + 3 * length; member += 3) {
      if (left.members-- <= 0) throw malformed("structures without an end");
      const text = btf.#words[member]!;
      if (text !== 0 && !this.#startsWith(text, wanted)) continue;
      const where = btf.#words[member + 2]!;
      const place = {
        id: btf.#words[member + 1]!,
        bit: bit + (flag ? where & 0xff_ffff : where),
        bits: flag ? where >>> 24 : 0,
      };
      const found = text !== 0 ? place : this.#member(place, name, depth + 1, left);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #element({ id, bit }: Place, index: number): Place | undefined {
    const type = this.#resolve(id);
    if (type?.kind !== ARRAY) return undefined;
    const [element, , count] = this.#arrayOf(type);
    if (count !== 0 && index >= count) return undefined;
    return { id: element, bit: bit + 8 * index * this.#sizeOf(element), bits: 0 };
  }

  #arrayOf({ btf, at }: { btf: Btf; at: number }): [element: number, index: number, count: number] {
    return btf.#words.subarray(at + 3, at + 6) as unknown as [number, number, number];
  }

  #sizeOf(id: number, depth = 0): number {
    const type = this.#resolve(id);
    if (type === undefined || depth > MOST_DEPTH) throw malformed("a type without a size");
    if (type.kind === PTR) return 8;
    if (type.kind !== ARRAY) return type.size;
    const [element, , count] = this.#arrayOf(type);
    return count * this.#sizeOf(element, depth + 1);
  }

  #describe({ id, bit, bits }: Place): Field | undefined {
    const type = this.#resolve(id);
    const kind = type && this.#kindOf(type);
    if (type === undefined || kind === undefined) return undefined;
    // Before there was a flag for it, the type of a bit-field said how many bits it has.
    const word = type.kind === INT ? type.btf.#words[type.at + 3]! : 0;
    const width = bits || ((word & 0xff) !== 8 * type.size ? word & 0xff : 0);
    const first = bit + (bits ? 0 : (word >>> 16) & 0xff);
    const field: Field = {
      offset: Math.floor(first / 8),
      size: width ? Math.ceil(((first % 8) + width) / 8) : this.#sizeOf(id),
      kind,
      type: this.#nameOf(type),
      signed: type.kind === INT ? ((word >>> 24) & INT_SIGNED) !== 0 : kind === "enum" && type.flag,
    };
    if (width) field.bits = { offset: first % 8, size: width };
    if (kind === "array") {
      const [element, , count] = this.#arrayOf(type);
      field.array = { count, stride: this.#sizeOf(element) };
    }
    return field;
  }

  #kindOf({ kind, btf, at }: { kind: number; btf: Btf; at: number }): FieldKind | undefined {
    const isBool = kind === INT && ((btf.#words[at + 3]! >>> 24) & INT_BOOL) !== 0;
    const kinds: Record<number, FieldKind> = {
      [INT]: isBool ? "bool" : "int",
      [PTR]: "pointer",
      [ARRAY]: "array",
      [STRUCT]: "struct",
      [UNION]: "union",
      [ENUM]: "enum",
      [ENUM64]: "enum",
      [FLOAT]: "float",
    };
    return kinds[kind];
  }

  /** The tag of a struct, union or enum, or of those a pointer or an array leads to. */
  #nameOf(type: { kind: number; name: number; size: number; btf: Btf; at: number }): string {
    if ([STRUCT, UNION, ENUM, ENUM64, FWD].includes(type.kind)) return this.#text(type.name);
    if (type.kind !== PTR && type.kind !== ARRAY) return "";
    const inside = this.#resolve(type.kind === PTR ? type.size : this.#arrayOf(type)[0]);
    return inside !== undefined && [STRUCT, UNION, ENUM, ENUM64, FWD].includes(inside.kind)
      ? this.#text(inside.name)
      : "";
  }

  /** The strings that have one of that number, and where it is in them. */
  #string(offset: number): [Buffer, number] {
    if (this.#base !== undefined && offset < this.#firstString) return this.#base.#string(offset);
    const at = offset - this.#firstString;
    if (at >= this.#strings.length) throw malformed(`there is no string ${offset}`);
    return [this.#strings, at];
  }

  #startsWith(offset: number, wanted: Buffer): boolean {
    const [strings, at] = this.#string(offset);
    return strings[at] === wanted[0] && strings.subarray(at, at + wanted.length).equals(wanted);
  }

  #text(offset: number): string {
    const [strings, at] = this.#string(offset);
    return strings.toString("latin1", at, strings.indexOf(0, at));
  }
}

/**
 * A path of members and indexes: `rtc_status.pending_eoi`, `pics[1].irr`.
 *
 * @throws Error for text that is no path: a mistake of this program.
 */
export function parseSteps(path: string): Step[] {
  const steps = path.match(/\w+|\[\d+\]/g) ?? [];
  const spelled = steps.reduce((all, step) => all + (all === "" || step[0] === "[" ? "" : ".") + step, "");
  if (spelled !== path) throw new Error(`${JSON.stringify(path)} is no path`);
  return steps.map((step) => (step[0] === "[" ? Number(step.slice(1, -1)) : step));
}

function part(bytes: Buffer, start: number, size: number): Buffer {
  if (start + size > bytes.length) throw malformed("it is cut off");
  return bytes.subarray(start, start + size);
}

function malformed(why: string): KvmIrqError {
  return new KvmIrqError("bpf-unavailable", `the kernel's BTF can't be read: ${why}`, {
    hint: "use --via ptrace",
  });
}
