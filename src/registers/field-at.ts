import type { Field, Fields } from "./field.ts";
import type { Path } from "./path.ts";

/**
 * The field that a path's names lead to, whatever its indices are; a list stands for its elements.
 *
 * @returns `undefined` where there is none of that name.
 */
export function fieldAt(fields: Fields, { steps }: Path): Field | undefined {
  let inside: Fields | undefined = fields;
  let found: Field | undefined;
  for (const step of steps) {
    if (!("key" in step)) continue;
    found = inside?.[step.key];
    inside = found && membersOf(found);
  }
  return found;
}

function membersOf({ shape }: Field): Fields | undefined {
  if (shape.kind === "list") return membersOf(shape.of);
  return shape.kind === "record" ? shape.fields : undefined;
}
