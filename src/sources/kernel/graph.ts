import { viewOf } from "../../abi/u64.ts";
import type { MemoryField, MemoryFields, Node, Structure } from "../../registers/memory.ts";

/** What this kernel's types are, as far as reading needs it. */
export interface Types {
  /** Where a field is and its bytes, by a path such as `rtc_status.pending_eoi`; `undefined` for one that is not there. */
  field(type: string, path: string): { offset: number; size: number } | undefined;
}

/** A range of kernel memory. */
export interface Piece {
  address: bigint;
  length: number;
}

/** Kernel memory. */
export interface Memory {
  /** Reads ranges in one go, `undefined` for those that can't be read. */
  read(pieces: readonly Piece[]): (Uint8Array | undefined)[];
  /** The links of a `struct list_head`, in their order; `undefined` for a list that can't be read, or has more. */
  links(head: bigint, most: number): bigint[] | undefined;
}

/** What was being read changed its shape meanwhile. */
export class TornError extends Error {}

/** Bytes of a field in a structure. */
interface Place {
  offset: number;
  size: number;
}

/** A structure as this kernel has it: which bytes are read, and where in them its fields are. */
interface Compiled {
  spans: readonly Place[];
  fields: readonly { name: string; field: MemoryField; places: readonly Place[] }[];
}

/** A structure that was found, and where what it has begins among all that is read. */
interface Found {
  address: bigint;
  compiled: Compiled;
  first: number;
  /** What its fields lead to. */
  led: Map<string, Led>;
}
type Led = Found | Found[] | Found[][] | { bytes: number };

/** Bytes of a piece that two looks are held against each other by. */
interface Compared {
  piece: number;
  at: number;
  size: number;
  /** Whether it says where other pieces are. */
  leads: boolean;
}

/** Structures are read with what is between fields that are this near each other. */
const NEAR = 64;
/** The most structures, and links of one list, before it is no list any more. */
const MOST = 20_000;
const POINTER = 8;

/** How structures lie in this kernel's memory. */
export class Graph {
  readonly #types: Types;
  readonly #compiled = new Map<Structure, Compiled>();

  constructor(types: Types) {
    this.#types = types;
  }

  compile(structure: Structure): Compiled {
    let compiled = this.#compiled.get(structure);
    if (compiled === undefined) {
      compiled = this.#compile(structure);
      this.#compiled.set(structure, compiled);
    }
    return compiled;
  }

  /** Where a field of a type is. */
  place(type: string, path: string): Place | undefined {
    return this.#types.field(type, path);
  }

  #compile({ type, fields }: Structure): Compiled {
    const known = Object.entries(fields).flatMap(([name, field]) => {
      const places = this.#placesOf(type, field);
      return places === undefined ? [] : [{ name, field, places }];
    });
    const parts = known
      .flatMap(({ field, places }) => (field.kind === "around" || field.kind === "inside" ? [] : places))
      .sort((a, b) => a.offset - b.offset);
    const spans: Place[] = [];
    for (const { offset, size } of parts) {
      const last = spans.at(-1);
      if (last !== undefined && offset - (last.offset + last.size) <= NEAR) {
        last.size = Math.max(last.size, offset + size - last.offset);
      } else spans.push({ offset, size });
    }
    return { spans, fields: known };
  }

  #placesOf(type: string, field: MemoryField): Place[] | undefined {
    const find = (path: string) => this.#types.field(type, path);
    if (field.kind === "packed") {
      const places = field.paths.map(find);
      return places.every((place) => place !== undefined) ? places : undefined;
    }
    if (field.kind === "around") {
      const place = this.#types.field(field.to.type, field.paths[0]!);
      return place && [place];
    }
    const place = field.paths.map(find).find((one) => one !== undefined);
    if (place === undefined) return undefined;
    if (field.kind === "list") return [{ offset: place.offset, size: POINTER }];
    if (field.kind !== "chains") return [place];
    const count = find(field.count);
    return count && [count, { offset: place.offset, size: 0 }];
  }
}

/** A structure and all that it leads to, where it was found. */
export class Walk<F extends MemoryFields> {
  readonly #graph: Graph;
  readonly #memory: Memory;
  readonly #pieces: Piece[] = [];
  readonly #compared: Compared[] = [];
  readonly #root: Found;
  /** Where the structure is. */
  readonly address: bigint;
  /** What was read on the way. */
  readonly #seen: Uint8Array[] = [];
  #structures = 0;

  /**
   * Finds everything that a structure leads to, level by level.
   *
   * @throws TornError when it changes meanwhile.
   */
  constructor(graph: Graph, memory: Memory, root: Structure<F>, address: bigint) {
    this.#graph = graph;
    this.#memory = memory;
    this.address = address;
    this.#root = this.#add(root, address);
    let level = [this.#root];
    while (level.length > 0) {
      this.#catchUp();
      level = level.flatMap((found) => this.#follow(found));
    }
    this.#catchUp();
  }

  /** Everything in one go, at the places where it was found. @throws TornError where they are no longer there. */
  look(): Uint8Array[] {
    return this.#all(this.#pieces);
  }

  /** Whether two looks found the same: the shape alone, or all that does not change by itself. */
  agree(one: readonly Uint8Array[], other: readonly Uint8Array[], what: "shape" | "all"): boolean {
    // Nearly all that was read is the same, and then it need not be looked at field by field.
    const differ = one.map((bytes, piece) => Buffer.compare(bytes, other[piece]!) !== 0);
    return this.#compared.every(({ piece, at, size, leads }) => {
      if (!differ[piece] || (what === "shape" && !leads)) return true;
      const [a, b] = [one[piece]!, other[piece]!];
      return Buffer.compare(a.subarray(at, at + size), b.subarray(at, at + size)) === 0;
    });
  }

  /** What was read on the way to everything. */
  get seen(): readonly Uint8Array[] {
    return this.#seen;
  }

  /** What a look says. */
  value(look: readonly Uint8Array[]): Node<F> {
    return this.#valueOf(this.#root, look) as Node<F>;
  }

  #all(pieces: readonly Piece[]): Uint8Array[] {
    return this.#memory.read(pieces).map((bytes) => {
      if (bytes === undefined) throw new TornError("memory that was being read is no longer there");
      return bytes;
    });
  }

  #catchUp(): void {
    if (this.#seen.length < this.#pieces.length) {
      this.#seen.push(...this.#all(this.#pieces.slice(this.#seen.length)));
    }
  }

  #add(structure: Structure, address: bigint): Found {
    if (++this.#structures > MOST) throw new TornError("there is no end to it");
    const compiled = this.#graph.compile(structure);
    const found: Found = { address, compiled, first: this.#pieces.length, led: new Map() };
    for (const { offset, size } of compiled.spans) {
      this.#pieces.push({ address: address + BigInt(offset), length: size });
    }
    for (const { field, places } of compiled.fields) {
      if (field.moving || field.kind === "around" || field.kind === "inside") continue;
      const leads = !["number", "wide", "packed"].includes(field.kind);
      for (const place of places) {
        if (place.size > 0) this.#compared.push({ ...this.#at(found, place), leads });
      }
    }
    return found;
  }

  #at({ compiled: { spans }, first }: Found, { offset, size }: Place): Omit<Compared, "leads"> {
    const index = spans.findIndex(
      (span) => offset >= span.offset && offset + size <= span.offset + span.size,
    );
    return { piece: first + index, at: offset - spans[index]!.offset, size };
  }

  #bytes(found: Found, place: Place, look: readonly Uint8Array[] = this.#seen): Uint8Array {
    const { piece, at, size } = this.#at(found, place);
    return look[piece]!.subarray(at, at + size);
  }

  #pointer(found: Found, place: Place): bigint {
    return viewOf(this.#bytes(found, place)).getBigUint64(0, true);
  }

  /** What was found behind the fields of a structure that has been read. */
  #follow(found: Found): Found[] {
    return found.compiled.fields.flatMap(({ name, field, places }) => {
      const led = this.#lead(found, field, places);
      if (led === undefined) return [];
      found.led.set(name, led);
      return "bytes" in led ? [] : ([led].flat(2) as Found[]);
    });
  }

  #lead(found: Found, field: MemoryField, places: readonly Place[]): Led | undefined {
    const [place] = places as [Place];
    switch (field.kind) {
      case "inside":
        return this.#add(field.to, found.address + BigInt(place.offset));
      case "around":
        return this.#add(field.to, found.address - BigInt(place.offset));
      case "pointer": {
        const to = this.#pointer(found, place);
        return to === 0n ? undefined : this.#add(field.to, to);
      }
      case "behind": {
        const to = this.#pointer(found, place);
        if (to === 0n) return undefined;
        const bytes = this.#pieces.push({ address: to, length: field.size }) - 1;
        if (!field.moving) this.#compared.push({ piece: bytes, at: 0, size: field.size, leads: false });
        return { bytes };
      }
      case "list":
        return this.#list(found, place, field);
      case "chains":
        return this.#chains(found, places, field);
      case "pointers":
        return this.#pointers(found, place).map((to) => this.#add(field.to, to));
      default:
        return undefined;
    }
  }

  #link({ to, link }: { to: Structure; link: string }): bigint {
    return BigInt(this.#graph.place(to.type, link)?.offset ?? 0);
  }

  /** The pointer at an address, which is compared too. */
  #pointersAt(addresses: readonly bigint[]): bigint[] {
    const first = this.#pieces.length;
    for (const [index, address] of addresses.entries()) {
      this.#pieces.push({ address, length: POINTER });
      this.#compared.push({ piece: first + index, at: 0, size: POINTER, leads: true });
    }
    this.#catchUp();
    return addresses.map((_, index) => viewOf(this.#seen[first + index]!).getBigUint64(0, true));
  }

  /** Where each link leads is compared as well. */
  #list(found: Found, place: Place, field: { to: Structure; link: string }): Found[] {
    const head = found.address + BigInt(place.offset);
    const link = this.#link(field);
    const links = this.#memory.links(head, MOST);
    if (links === undefined) throw new TornError("a list has no end");
    this.#pointersAt(links);
    return links.map((one) => this.#add(field.to, one - link));
  }

  #chains(found: Found, [count, map]: readonly Place[], field: { to: Structure; link: string }): Found[][] {
    const chains = viewOf(this.#bytes(found, count!)).getUint32(0, true);
    if (chains > MOST) throw new TornError("there are too many chains");
    const link = this.#link(field);
    const piece = this.#pieces.length;
    if (chains === 0) return [];
    this.#pieces.push({ address: found.address + BigInt(map!.offset), length: chains * POINTER });
    this.#compared.push({ piece, at: 0, size: chains * POINTER, leads: true });
    this.#catchUp();
    const heads = viewOf(this.#seen[piece]!);
    const all: bigint[][] = Array.from({ length: chains }, () => []);
    let ends = all.map((chain, index) => ({ chain, next: heads.getBigUint64(index * POINTER, true) }));
    for (let links = 0; ; ) {
      ends = ends.filter(({ next }) => next !== 0n);
      links += ends.length;
      if (links > MOST) throw new TornError("a chain has no end");
      if (ends.length === 0) break;
      const nexts = this.#pointersAt(ends.map(({ next }) => next));
      for (const [index, end] of ends.entries()) {
        end.chain.push(end.next - link);
        end.next = nexts[index]!;
      }
    }
    return all.map((chain) => chain.map((one) => this.#add(field.to, one)));
  }

  /** What an array of pointers has, or a `struct xarray` (include/linux/xarray.h: an inner node has bit 1 set). */
  #pointers(found: Found, place: Place): bigint[] {
    const head = this.#graph.place("xarray", "xa_head");
    const words = viewOf(this.#bytes(found, place));
    if (head === undefined || place.size !== this.#sizeOfXarray()) {
      const all = Array.from({ length: place.size / POINTER }, (_, n) =>
        words.getBigUint64(n * POINTER, true),
      );
      return all.filter((to) => to !== 0n);
    }
    const slots = this.#graph.place("xa_node", "slots")!;
    const found_: bigint[] = [];
    let level = [words.getBigUint64(head.offset, true)];
    for (let depth = 0; level.length > 0; depth++) {
      if (depth > 6 || level.length > MOST) throw new TornError("a tree has no end");
      const inner = level.filter((entry) => (entry & 3n) === 2n);
      if (inner.some((entry) => entry < 4096n)) throw new TornError("a tree was changing");
      found_.push(...level.filter((entry) => entry !== 0n && (entry & 3n) === 0n));
      const first = this.#pieces.length;
      for (const [index, entry] of inner.entries()) {
        this.#pieces.push({ address: entry - 2n + BigInt(slots.offset), length: slots.size });
        this.#compared.push({ piece: first + index, at: 0, size: slots.size, leads: true });
      }
      this.#catchUp();
      level = inner.flatMap((_, index) => {
        const view = viewOf(this.#seen[first + index]!);
        return Array.from({ length: slots.size / POINTER }, (__, n) => view.getBigUint64(n * POINTER, true));
      });
    }
    return found_;
  }

  /** `struct xarray` ends with its head. */
  #sizeOfXarray(): number {
    const { offset, size } = this.#graph.place("xarray", "xa_head")!;
    return offset + size;
  }

  #valueOf(found: Found, look: readonly Uint8Array[]): Record<string, unknown> {
    const value: Record<string, unknown> = {};
    for (const { name, field, places } of found.compiled.fields) {
      const led = found.led.get(name);
      const one = led === undefined ? this.#plain(found, field, places, look) : this.#ledValue(led, look);
      if (one !== undefined) value[name] = one;
    }
    return value;
  }

  #ledValue(led: Led, look: readonly Uint8Array[]): unknown {
    if (Array.isArray(led)) return led.map((one) => this.#ledValue(one, look));
    return "bytes" in led ? look[led.bytes] : this.#valueOf(led, look);
  }

  #plain(
    found: Found,
    { kind }: MemoryField,
    places: readonly Place[],
    look: readonly Uint8Array[],
  ): unknown {
    const bytes = () => this.#bytes(found, places[0]!, look);
    if (kind === "packed") return Buffer.concat(places.map((place) => this.#bytes(found, place, look)));
    if (kind === "wide" || kind === "address") return viewOf(bytes()).getBigUint64(0, true);
    if (kind !== "number") return undefined;
    return Buffer.from(bytes()).readUIntLE(0, Math.min(places[0]!.size, 4));
  }
}
