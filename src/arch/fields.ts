import { type Field, type Fields, list, record } from "../registers/field.ts";
import { fieldAt } from "../registers/field-at.ts";
import { certainPart, type Path, parsePath, resolvePath } from "../registers/path.ts";
import type { ArchData } from "./arch.ts";
import { blankState, isPerVcpu } from "./codec.ts";

/** What paths can be resolved in: every field of an architecture's decoded state, and one of each. */
interface Known {
  fields: Fields;
  blank: object;
}

const known = new WeakMap<ArchData, Known>();

function knownOf(arch: ArchData): Known {
  const found = known.get(arch);
  if (found !== undefined) return found;
  const { chips, vcpus } = blankState(arch, [
    ...arch.chips(1),
    ...(arch.vcpu === undefined ? [] : [`${arch.vcpu.kind}[0]`]),
  ]);
  const all = arch.vcpu === undefined ? arch.chipKinds : [...arch.chipKinds, arch.vcpu];
  const fields = Object.fromEntries(
    all.map((one) => {
      const whole = record(0, one.layout.fields);
      return [one.key ?? one.kind, isPerVcpu(one) ? list(0, 0, 0, whole) : whole];
    }),
  );
  const made = { fields, blank: vcpus === undefined ? chips : { ...chips, vcpus } };
  known.set(arch, made);
  return made;
}

/**
 * Throws unless a path names something that there can be. Its indices are left to the VM, which may have more
 * vCPUs or fewer.
 *
 * @throws KvmIrqError `bad-path` for a name that no chip has.
 */
export function checkFieldNames(arch: ArchData, path: Path): void {
  const { text, steps } = certainPart(path);
  resolvePath(knownOf(arch).blank, {
    text,
    steps: steps.map((step) => ("key" in step ? step : { from: 0, to: 0 })),
  });
}

/** The words that the field at the end of a path can be; nothing for a field that is no word, or any. */
export function wordsOf(arch: ArchData, path: string): readonly string[] | undefined {
  const shape = namedField(arch, path)?.shape;
  return shape?.kind === "word" && !shape.open ? shape.words : undefined;
}

/** Whether the bits of the field at the end of a path mean something each. */
export function isBitwise(arch: ArchData, path: string): boolean {
  return namedField(arch, path)?.bitwise === true;
}

function namedField(arch: ArchData, path: string): Field | undefined {
  return fieldAt(knownOf(arch).fields, parsePath(path));
}
