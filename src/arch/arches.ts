import { KvmIrqError } from "../abi/error.ts";
import type { Arch } from "./arch.ts";
import { IA64 } from "./ia64/index.ts";
import { X86_64 } from "./x86/index.ts";

const ARCHES: readonly Arch[] = [X86_64, IA64];

/** The architecture that a session on this host has. Today that is x86-64 everywhere. */
export const HOST_ARCH: Arch = X86_64;

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
