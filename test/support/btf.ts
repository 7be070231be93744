/** Makes BTF for tests: types in the order in which they are added, numbered from 1. */
export class BtfBuilder {
  readonly #words: number[] = [];
  readonly #strings: string[];
  #stringSize: number;
  #count: number;

  /** @param after what a split BTF goes on from: the types and the bytes of strings of its base. */
  constructor(after?: { types: number; strings: number }) {
    this.#strings = after === undefined ? [""] : [];
    this.#stringSize = after === undefined ? 1 : after.strings;
    this.#count = after?.types ?? 0;
  }

  get size(): { types: number; strings: number } {
    return { types: this.#count, strings: this.#stringSize };
  }

  name(text: string): number {
    if (text === "") return 0;
    this.#strings.push(text);
    this.#stringSize += text.length + 1;
    return this.#stringSize - text.length - 1;
  }

  type(
    kind: number,
    name: string,
    size: number,
    entries: number[][] = [],
    flag = false,
    ones: number[] = [],
  ): number {
    const info = ((flag ? 2 ** 31 : 0) + kind * 2 ** 24 + entries.length) >>> 0;
    this.#words.push(this.name(name), info, size, ...ones, ...entries.flat());
    return ++this.#count;
  }

  int(name: string, size: number, { signed = false, bits = 8 * size, offset = 0 } = {}): number {
    return this.type(1, name, size, [], false, [(signed ? 2 ** 24 : 0) + offset * 2 ** 16 + bits]);
  }
  pointer(to: number): number {
    return this.type(2, "", to);
  }
  array(of: number, count: number): number {
    return this.type(3, "", 0, [], false, [of, 1, count]);
  }
  /** @param members [name, type, offset in bits, size in bits where it is a bit-field]. */
  struct(name: string, size: number, members: [string, number, number, number?][], kind = 4): number {
    const flag = members.some(([, , , bits]) => bits !== undefined);
    const entries = members.map(([text, of, bit, bits = 0]) => [this.name(text), of, bits * 2 ** 24 + bit]);
    return this.type(kind, name, size, entries, flag);
  }
  union(name: string, size: number, members: [string, number, number, number?][]): number {
    return this.struct(name, size, members, 5);
  }
  alias(kind: "typedef" | "volatile" | "const", of: number, name = ""): number {
    return this.type({ typedef: 8, volatile: 9, const: 10 }[kind], name, of);
  }
  enum(name: string, values: [string, number][], signed = false): number {
    return this.type(
      6,
      name,
      4,
      values.map(([text, value]) => [this.name(text), value]),
      signed,
    );
  }
  enum64(name: string, values: [string, bigint][], signed = false): number {
    const entries = values.map(([text, value]) => [
      this.name(text),
      Number(BigInt.asUintN(32, value)),
      Number(BigInt.asUintN(32, value >> 32n)),
    ]);
    return this.type(19, name, 8, entries, signed);
  }

  bytes(): Buffer {
    const types = Buffer.from(Uint32Array.from(this.#words).buffer);
    const strings = Buffer.from(this.#strings.map((text) => `${text}\0`).join(""), "latin1");
    const header = Buffer.alloc(24);
    header.writeUInt16LE(0xeb9f, 0);
    header.writeUInt8(1, 2);
    for (const [index, word] of [24, 0, types.length, types.length, strings.length].entries())
      header.writeUInt32LE(word, 4 + 4 * index);
    return Buffer.concat([header, types, strings]);
  }
}
