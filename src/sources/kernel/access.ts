import { existsSync, readFileSync } from "node:fs";
import { KernelMemory } from "../../os/bpf.ts";
import type { Memory, Piece, Types } from "./graph.ts";
import { KernelProcess } from "./process.ts";
import { KernelTypes } from "./types.ts";

const POINTER = 8;

/** The memory of this host's kernel, and what its types are. */
export class KernelAccess implements Memory, Types {
  readonly #memory = new KernelMemory();
  readonly #types = new KernelTypes();
  /** The one module that drives this CPU for KVM; `undefined` where that can't be told. */
  readonly vendor: string | undefined = findVendor();

  field(type: string, path: string) {
    return this.#types.field(`${type}.${path}`);
  }

  has(type: string, path: string): boolean {
    return this.field(type, path) !== undefined;
  }

  enumOf(name: string): ReadonlyMap<string, number> | undefined {
    return this.#types.enumeration(name);
  }

  read(pieces: readonly Piece[]): (Uint8Array | undefined)[] {
    const batch = this.#memory.batch();
    const reads = pieces.map(({ address, length }) => batch.read(address, 0, length));
    batch.run();
    return reads.map(({ bytes }) => bytes);
  }

  /** Each link is read together with the pointer to the next one, from the first on. */
  links(head: bigint, most: number): bigint[] | undefined {
    const batch = this.#memory.batch();
    const first = batch.read(head, 0, POINTER);
    const rest = batch.list(head, 0, { length: POINTER, delta: 0, limit: most });
    batch.run();
    if (first.bytes === undefined || rest.bytes === undefined || rest.more) return undefined;
    const links = [first.value];
    for (let at = 0; at < rest.bytes.length; at += POINTER) links.push(rest.bytes.readBigUInt64LE(at));
    return links.pop() === head ? links : undefined;
  }

  /** A process, from now on and no other with its pid. @throws KvmIrqError `no-process`. */
  process(pid: number): KernelProcess {
    return new KernelProcess(this.#memory, this.#types, pid);
  }

  /** Keeps for the next process what was found out about types. */
  save(): void {
    this.#types.save();
  }

  close(): void {
    this.#memory.close();
  }
}

/** Modules that drive a CPU for KVM, and the CPU's flag in /proc/cpuinfo that each needs. */
const VENDORS = { kvm_intel: "vmx", kvm_amd: "svm", kvm_pvm: undefined } as const;

function findVendor(): string | undefined {
  const flags = /^flags\s*:(.*)$/m.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1]?.split(" ") ?? [];
  const able = Object.entries(VENDORS).filter(
    ([module, flag]) => existsSync(`/sys/module/${module}`) && (flag === undefined || flags.includes(flag)),
  );
  return able.length === 1 ? able[0]![0] : undefined;
}
