import { type Field, type Fields, list, record } from "../../registers/field.ts";
import { fieldAt } from "../../registers/field-at.ts";
import { certainPart, type Path, parsePath, resolvePath } from "../../registers/path.ts";
import { blankState } from "../codec.ts";
import { X86_64 } from "./index.ts";
import { IOAPIC } from "./ioapic/layout.ts";
import { LAPIC } from "./lapic/layout.ts";
import { PIC } from "./pic/layout.ts";
import { VCPU } from "./vcpu/layout.ts";

const each = (fields: Fields) => list(0, 0, 0, record(0, fields));
/** Every field of decoded state, under the name that paths to it begin with. */
const FIELDS: Fields = {
  pic1: record(0, PIC.fields),
  pic2: record(0, PIC.fields),
  ioapic: record(0, IOAPIC.fields),
  lapic: each(LAPIC.fields),
  vcpus: each(VCPU.fields),
};

const { chips, vcpus } = blankState(X86_64, [...X86_64.chips(1), "vcpu[0]"]);
/** One of each: what a snapshot of any VM has the same fields as. */
const EVERY_FIELD = { ...chips, vcpus };

/**
 * Throws unless a path names something that there can be. Its indices are left to the VM, which may have more
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

/** The words that the field at the end of a path can be; nothing for a field that is no word, or any. */
export function wordsOf(path: string): readonly string[] | undefined {
  const shape = namedField(path)?.shape;
  return shape?.kind === "word" && !shape.open ? shape.words : undefined;
}

/** Whether the bits of the field at the end of a path mean something each. */
export function isBitwise(path: string): boolean {
  return namedField(path)?.bitwise === true;
}

function namedField(path: string): Field | undefined {
  return fieldAt(FIELDS, parsePath(path));
}
