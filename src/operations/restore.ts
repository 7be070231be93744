import { KvmIrqError } from "../abi/error.ts";
import type { Arch } from "../arch/arch.ts";
import { archNamed } from "../arch/arches.ts";
import { vcpuOf } from "../arch/codec.ts";
import type { ChipId, ChipImage, Chips } from "../vm/chip.ts";
import type { Snapshot } from "../vm/snapshot.ts";
import type { Source } from "../vm/source.ts";
import { badChip } from "./take-snapshot.ts";

/** A restore, or what one would do. */
export interface Restored {
  arch: Arch;
  /** The chips that were written, or would be. */
  chips: ChipId[];
  before: Chips;
  wanted: Chips;
  /** What was read back afterwards; the kernel may have changed some of it. Absent for a dry run. */
  after?: Chips;
}

/**
 * Puts the chips of a snapshot back, all or none, and reads them again.
 *
 * @param words the chips to restore, as `--chip` takes them; none means all that the snapshot has.
 * @throws KvmIrqError `bad-input` when the snapshot has a chip that the target lacks, or another
 *   architecture; `bad-chip` for a chip that the snapshot lacks; what the target refuses.
 */
export async function restoreSnapshot(
  source: Source,
  snapshot: Snapshot,
  { words = [], dryRun = false }: { words?: readonly string[]; dryRun?: boolean } = {},
): Promise<Restored> {
  const info = source.identity;
  if (snapshot.host.arch !== info.host.arch) {
    throw new KvmIrqError(
      "bad-input",
      `the snapshot is of ${snapshot.host.arch}, ${info.label} is ${info.host.arch}`,
    );
  }
  const arch = archNamed(info.host.arch);
  const images = pick(arch.encode(snapshot.chips), words, snapshot);
  for (const { id } of images) {
    if (!info.chips.includes(id)) {
      throw new KvmIrqError("bad-input", `${info.label} has no ${id}, which the snapshot contains`, {
        hint:
          vcpuOf(arch, id) !== undefined
            ? "make a VM with as many vCPUs (`create --vcpus N`), or choose chips with --chip"
            : "choose chips with --chip",
      });
    }
  }
  const ids = images.map(({ id }) => id);
  const { images: before } = await source.read({ chips: ids });
  const decode = (list: readonly ChipImage[]) => arch.decode(list).chips;
  const restored: Restored = { arch, chips: ids, before: decode(before), wanted: decode(images) };
  if (dryRun) return restored;
  await source.perform("writeChips", { images, expected: [] });
  return { ...restored, after: decode((await source.read({ chips: ids })).images) };
}

function pick(images: readonly ChipImage[], words: readonly string[], snapshot: Snapshot): ChipImage[] {
  const arch = archNamed(snapshot.host.arch);
  const filters = (words.length === 0 ? ["all"] : words).map((word) => {
    const filter = arch.chipFilter(word);
    if (filter === undefined) throw badChip(word, arch);
    if (word.startsWith("vcpu")) {
      throw new KvmIrqError("bad-chip", "the state of vCPUs is there to be read, and is not restored", {
        hint: "on the software model, `kvm-irq create NAME --backend model --from FILE` starts with it",
      });
    }
    if (!images.some(({ id }) => filter(id))) {
      throw new KvmIrqError(
        "bad-chip",
        words.length === 0 ? "the snapshot has no chips" : `the snapshot has no ${word}`,
      );
    }
    return filter;
  });
  return images.filter(({ id }) => filters.some((filter) => filter(id)));
}
