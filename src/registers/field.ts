import { readU64, type U64, writeU64 } from "../abi/u64.ts";

/** What a field's values are: all that schemas, paths and differences have to know. */
export type Shape =
  /** A whole number of so many bits. */
  | { kind: "unsigned"; bits: number }
  /** 64 bits: a number, or hexadecimal text from 2^53 on. */
  | { kind: "u64" }
  | { kind: "flag" }
  /** One of some words; with `open` also `unknown-N` for a number that has none. */
  | { kind: "word"; words: readonly string[]; open?: true }
  /** A set of bits by number, lowest first. */
  | { kind: "vectors" }
  | { kind: "record"; fields: Fields }
  | { kind: "list"; of: Field; length: number }
  /** 32-bit words without a name, by offset (`"0x3f0"`), those that are not zero. */
  | { kind: "sparse"; offsets: readonly string[] };

/** A field of a structure: where it is, how it is read and written, and what it can be. */
export interface Field<T = unknown> {
  readonly shape: Shape;
  /** Left out of decoded state while it is zero or empty. */
  readonly optional?: true;
  /** Left out of decoded state where its source could not read it. */
  readonly perhaps?: true;
  /** Each of its bits means something by itself, so that differences name bits. */
  readonly bitwise?: true;
  /** Reads it from a structure that begins at `base`. */
  read(view: DataView, base: number): T;
  /** Writes it; bits around it stay as they are. */
  write(view: DataView, base: number, value: T): void;
}

export type Fields = Readonly<Record<string, Field>>;

type ValueOf<F> = F extends Field<infer T> ? T : never;
type OptionalKeys<F extends Fields> = {
  [K in keyof F]: F[K] extends { optional: true } | { perhaps: true } ? K : never;
}[keyof F];

/** The decoded form of some fields. */
export type RecordOf<F extends Fields> = {
  [K in Exclude<keyof F, OptionalKeys<F>>]: ValueOf<F[K]>;
} & { [K in OptionalKeys<F>]?: ValueOf<F[K]> };

/** Marks a field whose bits mean something each: `bitwise(u8(1))`. */
export function bitwise<T>(field: Field<T>): Field<T> {
  return { ...field, bitwise: true };
}

/** Marks a field that is left out of decoded state while it is zero or empty. */
export function optional<T>(field: Field<T>): Field<T> & { optional: true } {
  return { ...field, optional: true };
}

/** Marks a field that not every source can read; of others it is always there. */
export function perhaps<T>(field: Field<T>): Field<T> & { perhaps: true } {
  return { ...field, perhaps: true };
}

export function u8(at: number): Field<number> {
  return {
    shape: { kind: "unsigned", bits: 8 },
    read: (view, base) => view.getUint8(base + at),
    write: (view, base, value) => view.setUint8(base + at, value),
  };
}

/** 32 bits, little-endian, as everything here. */
export function u32(at: number): Field<number> {
  return {
    shape: { kind: "unsigned", bits: 32 },
    read: (view, base) => view.getUint32(base + at, true),
    write: (view, base, value) => view.setUint32(base + at, value, true),
  };
}

export function u64(at: number): Field<U64> {
  return {
    shape: { kind: "u64" },
    read: (view, base) => readU64(view, base + at),
    write: (view, base, value) => writeU64(view, base + at, value),
  };
}

/** A byte that is true when it is not zero. */
export function flagByte(at: number): Field<boolean> {
  return {
    shape: { kind: "flag" },
    read: (view, base) => view.getUint8(base + at) !== 0,
    write: (view, base, value) => view.setUint8(base + at, Number(value)),
  };
}

/**
 * Bits of a 64-bit word that begins where the structure does.
 *
 * @param from the lowest bit. @param count up to 53, for a number holds no more exactly.
 */
export function bits(from: number, count: number): Field<number> {
  const parts = [0, 32]
    .map((word) => ({ word, low: Math.max(from, word), high: Math.min(from + count, word + 32) }))
    .filter(({ low, high }) => low < high)
    .map(({ word, low, high }) => ({
      at: word / 8,
      shift: low - word,
      mask: 2 ** (high - low) - 1,
      weight: 2 ** (low - from),
    }));
  return {
    shape: { kind: "unsigned", bits: count },
    read: (view, base) =>
      parts.reduce(
        (sum, { at, shift, mask, weight }) =>
          sum + (((view.getUint32(base + at, true) >>> shift) & mask) >>> 0) * weight,
        0,
      ),
    write(view, base, value) {
      for (const { at, shift, mask, weight } of parts) {
        const others = view.getUint32(base + at, true) & ~(mask << shift);
        const own = (Math.floor(value / weight) & mask) << shift;
        view.setUint32(base + at, (others | own) >>> 0, true);
      }
    },
  };
}

/** One bit of the word that {@link bits} are of. */
export function flag(bit: number): Field<boolean> {
  const { read, write } = bits(bit, 1);
  return {
    shape: { kind: "flag" },
    read: (view, base) => read(view, base) === 1,
    write: (view, base, value) => write(view, base, Number(value)),
  };
}

/**
 * Bits, or a number, that stand for words.
 *
 * @param code the number: {@link bits} with as many values as there are words.
 */
export function word<const W extends string>(code: Field<number>, words: readonly W[]): Field<W> {
  return {
    shape: { kind: "word", words },
    read: (view, base) => words[code.read(view, base)]!,
    write: (view, base, value) => code.write(view, base, words.indexOf(value)),
  };
}

/** A number of which only some values have a word: the others read `unknown-N`. */
export function openWord<const W extends string>(
  code: Field<number>,
  words: readonly W[],
): Field<W | `unknown-${number}`> {
  return {
    shape: { kind: "word", words, open: true },
    read(view, base) {
      const number = code.read(view, base);
      return words[number] ?? `unknown-${number}`;
    },
    write(view, base, value) {
      const known = words.indexOf(value as W);
      code.write(view, base, known === -1 ? Number(value.slice("unknown-".length)) : known);
    },
  };
}

/** Fields that belong together, in a structure of their own. */
export function record<F extends Fields>(at: number, fields: F): Field<RecordOf<F>> {
  const list = Object.entries(fields);
  return {
    shape: { kind: "record", fields },
    read(view, base) {
      const state: Record<string, unknown> = {};
      for (const [name, field] of list) {
        const value = field.read(view, base + at);
        if (!field.optional || !isBlank(value)) state[name] = value;
      }
      return state as RecordOf<F>;
    },
    write(view, base, state) {
      for (const [name, field] of list) {
        const value = (state as Record<string, unknown>)[name];
        field.write(view, base + at, value ?? (field.shape.kind === "sparse" ? {} : 0));
      }
    },
  };
}

function isBlank(value: unknown): boolean {
  return value === 0 || (typeof value === "object" && value !== null && Object.keys(value).length === 0);
}

/** Equal structures side by side. */
export function list<T>(at: number, length: number, stride: number, of: Field<T>): Field<T[]> {
  return {
    shape: { kind: "list", of, length },
    read: (view, base) => Array.from({ length }, (_, index) => of.read(view, base + at + index * stride)),
    write: (view, base, values) => {
      for (const [index, value] of values.entries()) of.write(view, base + at + index * stride, value);
    },
  };
}

/** Bits as numbers, lowest first, in 32-bit words that lie `stride` bytes apart. */
export function bitSet(at: number, words: number, stride: number): Field<number[]> {
  const places = Array.from({ length: words }, (_, index) => ({
    offset: at + index * stride,
    first: index * 32,
  }));
  return {
    shape: { kind: "vectors" },
    read(view, base) {
      const found: number[] = [];
      for (const { offset, first } of places) {
        for (let rest = view.getUint32(base + offset, true); rest !== 0; rest &= rest - 1) {
          found.push(first + 31 - Math.clz32(rest & -rest));
        }
      }
      return found;
    },
    write(view, base, values) {
      for (const { offset, first } of places) {
        let word = 0;
        for (const value of values) if (value >>> 5 === first >>> 5) word |= 1 << (value & 31);
        view.setUint32(base + offset, word >>> 0, true);
      }
    },
  };
}

/** The 32-bit words at some offsets, by their offset (`"0x3f0"`); words that are zero have no entry. */
export function sparseWords(offsets: readonly number[]): Field<Record<string, number>> {
  const names = offsets.map((offset) => `0x${offset.toString(16).padStart(3, "0")}`);
  return {
    shape: { kind: "sparse", offsets: names },
    read(view, base) {
      const found: Record<string, number> = {};
      for (const [index, offset] of offsets.entries()) {
        const word = view.getUint32(base + offset, true);
        if (word !== 0) found[names[index]!] = word;
      }
      return found;
    },
    write(view, base, words) {
      for (const [name, word] of Object.entries(words)) view.setUint32(base + Number(name), word, true);
    },
  };
}
