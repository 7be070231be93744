import { KvmIrqError } from "../abi/error.ts";
import type { Arch } from "../arch/arch.ts";
import { archNamed } from "../arch/arches.ts";
import { blankState } from "../arch/codec.ts";
import type { Chips, VcpuState } from "../vm/chip.ts";
import { type ChipId, type ChipImage, parseChipId } from "../vm/chip.ts";
import { makeSnapshot, notSeen, type Snapshot } from "../vm/snapshot.ts";
import type { Target, TargetInfo } from "../vm/source.ts";

/** What was read from a target at one moment: the bytes, and what they mean. */
export interface Reading {
  info: TargetInfo;
  arch: Arch;
  images: ChipImage[];
  snapshot: Snapshot;
}

/**
 * Reads a target's chips in one go.
 *
 * @param words as `--chip` takes them: `pic`, `ioapic`, `lapic[1]`, `all`. None means all, with the state
 *   of the vCPUs where the target can tell it.
 * @throws KvmIrqError `bad-chip` for a word that names no chip of the target.
 */
export async function readTarget(target: Target, words: readonly string[] = []): Promise<Reading> {
  const { info, images } = await readSelected(target, words);
  const arch = archNamed(info.host.arch);
  const snapshot = {
    ...makeSnapshot(arch, images, info.source, info.host),
    ...(info.capturedAt === undefined ? {} : { captured_at: info.capturedAt }),
    ...(info.irqchip === undefined ? {} : { irqchip: info.irqchip }),
    ...(info.routing === undefined ? {} : { routing: info.routing }),
    ...(info.guest === undefined ? {} : { guest: info.guest }),
  };
  for (const vcpu of snapshot.vcpus ?? []) {
    const run = (target.lastRuns ?? info.runs)?.get(vcpu.vcpu);
    if (run !== undefined) vcpu.run = run;
  }
  // No local APICs, which is not the same as none that were read.
  if (info.vcpus === 0 && (words.length === 0 || words.includes("all"))) snapshot.chips["lapic"] = [];
  return { info, arch, images, snapshot };
}

/** A process's VM may turn out to have fewer chips than was thought: then those are read that it has. */
async function readSelected(
  target: Target,
  words: readonly string[],
): Promise<Pick<Reading, "info" | "images">> {
  const info = await target.describe();
  try {
    return { info, images: await target.readChips(selectChips(words, info)) };
  } catch (error) {
    if ((await target.describe()).chips.length === info.chips.length) throw error;
    return readSelected(target, words);
  }
}

/** What a reading of a target's chips would have, had it nothing but zeros in it. No chip is read. */
export function blankReading(
  info: TargetInfo,
  words: readonly string[],
): { chips: Chips; vcpus?: VcpuState[] } {
  return blankState(archNamed(info.host.arch), selectChips(words, info));
}

/**
 * The chips of a target that words of `--chip` stand for; no words stand for all that it has.
 *
 * @throws KvmIrqError `bad-chip` for a word that names no chip of the target.
 */
export function selectChips(words: readonly string[], info: TargetInfo): ChipId[] {
  if (words.length === 0) return info.chips;
  const arch = archNamed(info.host.arch);
  const filters = words.map((word) => {
    const filter = arch.chipFilter(word);
    if (filter === undefined) throw badChip(word, arch);
    if (!info.chips.some(filter)) {
      const [reason, chips] = [notSeen(info), info.chips.filter((id) => parseChipId(id).kind !== "vcpu")];
      throw new KvmIrqError(
        "bad-chip",
        reason === undefined
          ? `${info.label} has no ${word}`
          : `${word} of ${info.label} can't be read: ${reason}`,
        {
          hint:
            chips.length === 0
              ? "no chip can be read"
              : `${reason === undefined ? "it has" : "there are"}: ${chips.join(", ")}`,
        },
      );
    }
    return filter;
  });
  return info.chips.filter((id) => filters.some((filter) => filter(id)));
}

/** The error for a word of `--chip` that names no chip of that architecture. */
export function badChip(word: string, arch: Arch): KvmIrqError {
  return new KvmIrqError("bad-chip", `there is no chip ${JSON.stringify(word)}`, {
    hint: `chips are: ${arch.chipWords.join(", ")}; one local APIC is lapic[0]`,
  });
}
