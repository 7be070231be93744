import { parsePath, resolvePath } from "../registers/path.ts";
import { holds, type Operator } from "./expect.ts";

/** What a field of the state says. It can be put to that state again. */
export interface Evidence {
  path: string;
  /** As `expect` has it. Besides, `!&`: the bit is clear, `has` and `lacks`: a list and a vector, `missing`: no field. */
  operator: Operator | "!&" | "has" | "lacks" | "missing";
  /** Of `&` and `!&` the number of a bit. A number as a string is shown as it is written: "0x10". */
  value: string | number;
  /** Of the reading before this one. */
  before?: true;
}

const claim =
  (operator: Evidence["operator"]) =>
  (path: string, value: string | number | boolean): Evidence => ({
    path,
    operator,
    value: typeof value === "boolean" ? String(value) : value,
  });

export const is = claim("=");
export const below = claim("<");
export const bitSet = claim("&");
export const bitClear = claim("!&");
export const listHas = claim("has");
export const listLacks = claim("lacks");
export const missing = (path: string): Evidence => claim("missing")(path, "");
export const before = (evidence: Evidence): Evidence => ({ ...evidence, before: true });

/**
 * Whether evidence is true.
 *
 * @param state what paths start in: chips by name, `vcpus`, and `routing` by GSI.
 */
export function isTrue(state: object, { path, operator, value }: Evidence): boolean {
  if (operator === "missing") return !exists(state, path);
  return resolvePath(state, parsePath(path)).every((field) => {
    switch (operator) {
      case "&":
        return holds(field, "&", String(2n ** BigInt(value)));
      case "!&":
        return !holds(field, "&", String(2n ** BigInt(value)));
      case "has":
      case "lacks":
        return holds(field, operator === "has" ? "=" : "!=", String(value));
      default:
        return holds(field, operator, String(value));
    }
  });
}

function exists(state: object, path: string): boolean {
  try {
    return resolvePath(state, parsePath(path)).every(({ value }) => value !== undefined);
  } catch {
    return false;
  }
}
