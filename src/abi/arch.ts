import type { ChipId, ChipImage } from "./chip.ts";
import { KvmIrqError } from "./error.ts";
import { IA64 } from "./ia64/arch.ts";
import { X86_64 } from "./x86/arch.ts";
import type { IoapicState } from "./x86/ioapic.ts";
import type { LapicState } from "./x86/lapic.ts";
import type { PicState } from "./x86/pic.ts";
import type { VcpuState } from "./x86/vcpu.ts";

/** The decoded chips of a VM, or those of them that were asked for. */
export interface Chips {
  pic1?: PicState;
  pic2?: PicState;
  ioapic?: IoapicState;
  lapic?: LapicState[];
}

export type VcpuList = VcpuState[];

/** What commands and renderers ask instead of knowing an architecture's chips, lines and ranges. */
export interface Arch {
  name: string;
  /** The words that `--chip` takes. */
  chipWords: readonly string[];
  /** The chips of a VM with so many vCPUs, in the order in which they are shown. */
  chips(vcpus: number): ChipId[];
  /** Whether a word of `--chip`, or a chip's own id, stands for a chip; `undefined` for a word that names none. */
  chipFilter(word: string): ((id: ChipId) => boolean) | undefined;
  /** GSIs that the default routing takes somewhere: 0 to `count - 1`. */
  gsis: { count: number; description: string };
  /** Entries of the IOAPIC's redirection table. */
  ioapicPins: number;
  /** The most vCPUs that the chips can address. */
  maxVcpus: number;
  /** Decodes chip images and vCPU images. */
  decode(images: readonly ChipImage[]): { chips: Chips; vcpus?: VcpuList };
  /** Encodes chips, in the order in which they are to be written back. */
  encode(chips: Chips): ChipImage[];
}

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
