import { KvmIrqError } from "../abi/error.ts";
import type { Path } from "../registers/path.ts";
import type { Arch, ArchData } from "./arch.ts";
import { checkFieldNames } from "./fields.ts";
import { IA64 } from "./ia64/index.ts";
import { X86_64 } from "./x86/index.ts";

const { vcpu: _, model: __, ...asX86 } = X86_64;
/**
 * Every architecture that there is; this file alone knows which. ia64 is only ever decoded: what it does not say of
 * itself, nobody asks, or its chip is an IOAPIC in that.
 */
export const ARCHES: readonly Arch[] = [X86_64, { ...asX86, ...IA64 }];

/** The architecture that a session on this host has. Today that is x86-64 everywhere. */
export const HOST_ARCH = X86_64;

/** The registers, calls and signal frames of this host's threads, for those that stop them. */
export * as HOST_THREADS from "./x86/attach/index.ts";

/**
 * The architecture of that name, as snapshots have it.
 *
 * @throws KvmIrqError `bad-input` for a name that is not known.
 */
export function archNamed(name: string): Arch {
  const arch = ARCHES.find((candidate) => candidate.name === name);
  if (arch === undefined) {
    throw new KvmIrqError("bad-input", `architecture ${JSON.stringify(name)} is not known`, {
      hint: `known: ${ARCHES.map((candidate) => candidate.name).join(", ")}`,
    });
  }
  return arch;
}

/**
 * The architectures that have what a path names. Which of them a VM is of, it says itself.
 *
 * @throws KvmIrqError `bad-path` for a name that none has, in the words of this host's.
 */
export function archesNaming(path: Path): Arch[] {
  const naming = ARCHES.filter((arch) => fieldError(arch, path) === undefined);
  if (naming.length === 0) throw fieldError(HOST_ARCH, path);
  return naming;
}

function fieldError(arch: ArchData, path: Path): unknown {
  try {
    return void checkFieldNames(arch, path);
  } catch (error) {
    return error;
  }
}
