import { type Field, type Fields, list, record } from "../registers/field.ts";
import { fieldAt } from "../registers/field-at.ts";
import { certainPart, type Path, parsePath, resolvePath } from "../registers/path.ts";
import type { ArchData, Controller } from "./arch.ts";
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
  const fields = Object.fromEntries(
    controllersOf(arch).map((one) => {
      const whole = record(0, one.layout.fields);
      return [keyOf(one), isPerVcpu(one) ? list(0, 0, 0, whole) : whole];
    }),
  );
  const made = { fields, blank: vcpus === undefined ? chips : { ...chips, vcpus } };
  known.set(arch, made);
  return made;
}

function controllersOf({ chipKinds, vcpu }: ArchData): readonly Controller[] {
  return vcpu === undefined ? chipKinds : [...chipKinds, vcpu];
}

const keyOf = ({ key, kind }: Controller) => key ?? kind;

/** What a path leads into: a chip, or the state of vCPUs; `undefined` for a path of another architecture. */
export function controllerAt(arch: ArchData, { steps: [first] }: Path): Controller | undefined {
  return controllersOf(arch).find((one) => first !== undefined && "key" in first && keyOf(one) === first.key);
}

/**
 * The chip that a path leads into, as `--chip` names it: `ioapic`, `lapic[2]`, or `lapic` for several.
 *
 * @throws KvmIrqError `bad-path` where the architecture has no such chip.
 */
export function chipOfPath(arch: ArchData, path: Path): string {
  const one = controllerAt(arch, path);
  if (one === undefined) checkFieldNames(arch, path);
  const { kind } = one!;
  const [, index] = path.steps;
  if (!isPerVcpu(one!) || index === undefined || "key" in index || index.from !== index.to) return kind;
  return `${kind}[${index.from}]`;
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
