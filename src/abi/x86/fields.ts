import { blankState } from "../arch.ts";
import { certainPart, type Path, resolvePath } from "../path.ts";
import { X86_64 } from "./arch.ts";
import { DELIVERY_MODES, DELIVERY_STATUSES, DEST_MODES, POLARITIES, TRIG_MODES } from "./ioapic.ts";

const { chips, vcpus } = blankState(X86_64, [...X86_64.chips(1), "vcpu[0]"]);
/** One of each: what a snapshot of any VM has the same fields as. */
const EVERY_FIELD = { ...chips, vcpus };

/**
 * Insists that a path names something that there can be. Its indices are left to the VM, which may have more
 * vCPUs or fewer.
 *
 * @throws KvmIrqError `bad-path` for a name that no chip has.
 */
export function checkFieldNames(path: Path): void {
  const { text, steps } = certainPart(path);
  resolvePath(EVERY_FIELD, {
    text,
    steps: steps.map((step) => ("key" in step ? step : { from: 0, to: 0 })),
  });
}

const WORDS: Readonly<Record<string, readonly string[]>> = {
  delivery_mode: DELIVERY_MODES,
  dest_mode: DEST_MODES,
  delivery_status: DELIVERY_STATUSES,
  polarity: POLARITIES,
  trig_mode: TRIG_MODES,
};

/** The words that the field at the end of a path can be; nothing for a field that is no word, or any. */
export function wordsOf(path: string): readonly string[] | undefined {
  return WORDS[path.slice(path.lastIndexOf(".") + 1)];
}
