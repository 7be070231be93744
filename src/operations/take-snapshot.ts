import { KvmIrqError } from "../abi/error.ts";
import type { Arch } from "../arch/arch.ts";
import { archNamed } from "../arch/arches.ts";
import { blankState, isPerVcpu } from "../arch/codec.ts";
import { type ChipId, type Chips, parseChipId, type VcpuState } from "../vm/chip.ts";
import { type Identity, infoOf, type Reading, type SourceInfo } from "../vm/reading.ts";
import { makeSnapshot, notSeen, type Snapshot } from "../vm/snapshot.ts";
import type { Source } from "../vm/source.ts";

/** A reading of a VM, and what its bytes mean. */
export interface Decoded extends Reading {
  arch: Arch;
  snapshot: Snapshot;
}

/**
 * Reads a VM in one go.
 *
 * @param words as `--chip` takes them: `pic`, `ioapic`, `lapic[1]`, `all`. None means all, with the state
 *   of the vCPUs where the source can tell it.
 * @param wanted what else is to be known. When not given: what the words name; all there is, without any.
 * @throws KvmIrqError `bad-chip` for a word that names no chip of the VM.
 */
export async function readSource(
  source: Source,
  words: readonly string[] = [],
  wanted: readonly string[] = selectFacts(words, source.identity),
): Promise<Decoded> {
  const reading = await readSelected(source, words, wanted);
  const { identity, images, runs, settled } = reading;
  const { capturedAt, irqchip } = identity;
  const { routing, guest } = infoOf(reading);
  const { facts, unknown = {} } = reading;
  const arch = archNamed(identity.host.arch);
  const snapshot = {
    ...makeSnapshot(
      arch,
      images,
      settled === false ? { ...identity.source, settled } : identity.source,
      identity.host,
    ),
    ...(capturedAt === undefined ? {} : { captured_at: capturedAt }),
    ...(irqchip === undefined ? {} : { irqchip }),
    ...(routing === undefined ? {} : { routing }),
    ...(guest === undefined ? {} : { guest }),
    ...facts,
    ...(Object.keys(unknown).length === 0 ? {} : { unknown }),
  };
  for (const vcpu of snapshot.vcpus ?? []) {
    const run = runs.get(vcpu.vcpu);
    if (run !== undefined) vcpu.run = run;
  }
  // No local APICs, which is not the same as none that were read.
  if (identity.vcpus === 0 && (words.length === 0 || words.includes("all"))) {
    for (const { kind } of arch.chipKinds.filter(isPerVcpu)) snapshot.chips[kind] = [];
  }
  return { ...reading, arch, snapshot };
}

/** A process's VM may turn out to have fewer chips than was thought: then those are read that it has. */
async function readSelected(
  source: Source,
  words: readonly string[],
  facts: readonly string[],
): Promise<Reading> {
  const { chips } = source.identity;
  try {
    return await source.read({ chips: selectChips(words, source.identity), facts });
  } catch (error) {
    if (source.identity.chips.length === chips.length) throw error;
    return readSelected(source, words, facts);
  }
}

/** What is known of a VM besides the state of its chips. No chip is read. */
export async function knownOf(source: Source): Promise<SourceInfo> {
  return infoOf(await source.read({ chips: [] }));
}

/** What a reading of a target's chips would have, had it nothing but zeros in it. No chip is read. */
export function blankReading(
  info: Identity,
  words: readonly string[],
): { chips: Chips; vcpus?: VcpuState[] } {
  return blankState(archNamed(info.host.arch), selectChips(words, info));
}

/**
 * The chips of a target that words of `--chip` stand for; no words stand for all that it has.
 *
 * @throws KvmIrqError `bad-chip` for a word that names no chip of the target.
 */
export function selectChips(words: readonly string[], info: Identity): readonly ChipId[] {
  if (words.length === 0) return info.chips;
  const arch = archNamed(info.host.arch);
  const filters = chipWords(words, arch).map((word) => {
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

/** The words of `--chip` that name chips, not facts. */
function chipWords(words: readonly string[], { facts }: Pick<Arch, "facts">): readonly string[] {
  return words.filter((word) => !Object.hasOwn(facts, word));
}

/**
 * The facts of a target that words of `--chip` stand for; no words stand for all that there are.
 *
 * @throws KvmIrqError `bad-chip` for a fact that can't be told of the target.
 */
export function selectFacts(
  words: readonly string[],
  { host, facts = [], label }: Identity,
): readonly string[] {
  const { facts: kinds } = archNamed(host.arch);
  if (words.length === 0) return Object.keys(kinds);
  return words.filter((word) => {
    if (!Object.hasOwn(kinds, word)) return false;
    if (facts.includes(word)) return true;
    throw new KvmIrqError("bad-chip", `${word} can't be read from ${label}`, {
      hint: `${facts.length === 0 ? "" : `it has: ${facts.join(", ")}; `}kernel memory has it for a VM that --pid names: run as root`,
    });
  });
}

/** The error for a word of `--chip` that names no chip of that architecture. */
export function badChip(word: string, arch: Arch, facts: readonly string[] = []): KvmIrqError {
  return new KvmIrqError("bad-chip", `there is no chip ${JSON.stringify(word)}`, {
    hint: `chips are: ${arch.chipWords.join(", ")}; one local APIC is lapic[0]${facts.length === 0 ? "" : `; and beside them: ${facts.join(", ")}`}`,
  });
}
