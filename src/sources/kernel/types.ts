import { readdirSync, readFileSync } from "node:fs";
import { KvmIrqError } from "../../abi/error.ts";
import type { Base, Batch, KernelRead } from "../../os/bpf.ts";
import { Btf, type Field, parseSteps } from "../../os/btf.ts";
import { reasonOf } from "../../os/system-error.ts";
import { type FieldPath, type KnownTypes, readKnown, writeKnown } from "./types-cache.ts";

const FOLDER = "/sys/kernel/btf";

/**
 * The types of the running kernel and its KVM modules, by paths such as `kvm_ioapic.rtc_status.pending_eoi` and,
 * through pointers, `kvm.arch.vpic->pics[1].irr`. What was asked once is kept for the next process.
 */
export class KernelTypes {
  readonly #known: KnownTypes;
  #btfs: Btf[] | undefined;
  #isNew = false;

  constructor(known: KnownTypes = readKnown()) {
    this.#known = known;
  }

  /**
   * Where a field is, and what.
   *
   * @param path a type's name alone, as `kvm_lapic`, stands for the whole of it.
   * @returns nothing when this kernel has no such type or field.
   * @throws KvmIrqError `bpf-unavailable` where the kernel has no BTF.
   */
  field(path: string): FieldPath | undefined {
    return this.#remember(this.#known.fields, path, () => this.#follow(path)) ?? undefined;
  }

  /** The same of a field that every kernel has. @throws KvmIrqError `bpf-unavailable` when this one lacks it. */
  known(path: string): FieldPath {
    const field = this.field(path);
    if (field === undefined) throw unfit(`it has no ${path}`);
    return field;
  }

  /** The values of an enum by name; nothing when there is no such enum. */
  enumeration(name: string): ReadonlyMap<string, number> | undefined {
    const values = this.#remember(this.#known.enums, name, () => {
      const found = this.#first((btf) => btf.enumeration(name));
      return found && Object.fromEntries(found);
    });
    return values === null ? undefined : new Map(Object.entries(values));
  }

  /**
   * Adds the read of a field to a batch, and those of the pointers on the way.
   *
   * @param base where the structure is that the path begins with.
   * @returns nothing when this kernel has no such field.
   */
  read(batch: Batch, base: Base, path: string): FieldRead | undefined {
    const field = this.field(path);
    return field && addReads(batch, base, field);
  }

  /** The same of a field that every kernel has. @throws KvmIrqError `bpf-unavailable` when this one lacks it. */
  readKnown(batch: Batch, base: Base, path: string): FieldRead {
    return addReads(batch, base, this.known(path));
  }

  /** Keeps what was found for the next process; in silence where that is not possible. */
  save(): void {
    if (this.#isNew) writeKnown(this.#known);
    this.#isNew = false;
    // Megabytes, which are hardly asked for again.
    this.#btfs = undefined;
  }

  #remember<T>(known: Record<string, T | null>, key: string, find: () => T | undefined): T | null {
    const kept = Object.hasOwn(known, key) ? known[key] : undefined;
    if (kept !== undefined) return kept;
    this.#isNew = true;
    known[key] = find() ?? null;
    return known[key];
  }

  #follow(path: string): FieldPath | undefined {
    const through: number[] = [];
    const [first = "", ...rest] = path.split("->");
    let field = this.#within(first);
    for (const part of rest) {
      if (field?.kind !== "pointer" || field.type === "") return undefined;
      through.push(field.offset);
      field = this.#within(`${field.type}.${part}`);
    }
    return field && { ...field, through };
  }

  #within(path: string): Field | undefined {
    const [type = "", ...members] = path.split(".");
    const steps = parseSteps(members.join("."));
    return this.#first((btf) => btf.field(type, steps));
  }

  #first<T>(find: (btf: Btf) => T | undefined): T | undefined {
    this.#btfs ??= loadBtfs();
    for (const btf of this.#btfs) {
      const found = find(btf);
      if (found !== undefined) return found;
    }
    return undefined;
  }
}

/** A field that is read, or was. */
export class FieldRead {
  readonly field: FieldPath;
  readonly read: KernelRead;

  constructor(field: FieldPath, read: KernelRead) {
    this.field = field;
    this.read = read;
  }

  /** Its bytes; nothing when it could not be read, or its batch has not run. */
  get bytes(): Buffer | undefined {
    return this.read.bytes;
  }

  /** Its value as an unsigned number; of a bit-field, its bits alone. */
  get unsigned(): bigint | undefined {
    if (this.bytes === undefined) return undefined;
    const { bits } = this.field;
    return bits === undefined
      ? this.read.value
      : BigInt.asUintN(bits.size, this.read.value >> BigInt(bits.offset));
  }

  /** Its value as its type has it. Beyond 2^53 it is not exact. */
  get number(): number | undefined {
    const { unsigned, field } = this;
    if (unsigned === undefined) return undefined;
    return Number(field.signed ? BigInt.asIntN(field.bits?.size ?? 8 * field.size, unsigned) : unsigned);
  }
}

function addReads(batch: Batch, base: Base, field: FieldPath): FieldRead {
  const from = field.through.reduce<Base>((at, offset) => batch.read(at, offset, 8), base);
  return new FieldRead(field, batch.read(from, field.offset, field.size));
}

/** The BTF of each KVM module, KVM's own first, on top of the kernel's; the kernel's alone where KVM is built in. */
function loadBtfs(): Btf[] {
  const kernel = new Btf(readBtf("vmlinux"));
  const modules = readdirSync(FOLDER).filter((name) => /^kvm/.test(name));
  // "kvm" sorts before what begins with it.
  return modules.length === 0 ? [kernel] : modules.sort().map((name) => new Btf(readBtf(name), kernel));
}

function readBtf(name: string): Buffer {
  try {
    return readFileSync(`${FOLDER}/${name}`);
  } catch (error) {
    const { why, errno_name } = reasonOf(error);
    throw unfit(errno_name === "ENOENT" ? "it was built without BTF (CONFIG_DEBUG_INFO_BTF)" : why);
  }
}

function unfit(why: string): KvmIrqError {
  return new KvmIrqError("bpf-unavailable", `this kernel's types are not known: ${why}`, {
    hint: "use --via ptrace",
  });
}
