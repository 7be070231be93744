import { type ChipId, type ChipImage, type ChipKind, parseChipId } from "../vm/chip.ts";
import type { IoapicState } from "./x86/ioapic/layout.ts";
import type { LapicState } from "./x86/lapic/layout.ts";
import type { PicState } from "./x86/pic/layout.ts";
import type { VcpuState } from "./x86/vcpu/layout.ts";

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
  /** Bytes of a chip image or a vCPU image. */
  imageSizes: Readonly<Record<ChipKind, number>>;
  /** Encodes chips, in the order in which they are to be written back. */
  encode(chips: Chips): ChipImage[];
}

/** Decoded state with all the fields that such chips and vCPUs have, and nothing but zeros in them. */
export function blankState(
  { decode, imageSizes }: Arch,
  ids: readonly ChipId[],
): { chips: Chips; vcpus?: VcpuList } {
  return decode(ids.map((id) => ({ id, bytes: new Uint8Array(imageSizes[parseChipId(id).kind]) })));
}
