import { KvmIrqError } from "../abi/error.ts";
import type { ArchData } from "../arch/arch.ts";
import { archesNaming } from "../arch/arches.ts";
import { wordsOf } from "../arch/fields.ts";
import { certainPart, type Field, type Path, parsePath, resolvePath } from "../registers/path.ts";

const COMPARE = {
  "=": (found: bigint, wanted: bigint) => found === wanted,
  "!=": (found: bigint, wanted: bigint) => found !== wanted,
  "<": (found: bigint, wanted: bigint) => found < wanted,
  ">": (found: bigint, wanted: bigint) => found > wanted,
  "<=": (found: bigint, wanted: bigint) => found <= wanted,
  ">=": (found: bigint, wanted: bigint) => found >= wanted,
  "&": (found: bigint, wanted: bigint) => (found & wanted) !== 0n,
};
type Operator = keyof typeof COMPARE;

/** Something that is to hold of decoded state. */
export interface Condition {
  /** As it was written. */
  text: string;
  path: Path;
  operator: Operator;
  wanted: string;
}

/** How one field stands to a condition. A path with a range gives one for each field. */
export interface Verdict {
  path: string;
  operator: Operator;
  wanted: string;
  found: unknown;
  met: boolean;
}

/**
 * Parses `path=value`, or another of `!=`, `<`, `>`, `<=`, `>=` and `&` (any of these bits is set).
 *
 * @throws KvmIrqError `bad-path`.
 */
export function parseCondition(text: string): Condition {
  const match = /^([^=!<>&]+)(!=|<=|>=|=|<|>|&)(.*)$/.exec(text);
  if (match === null) {
    throw new KvmIrqError("bad-path", `${JSON.stringify(text)} is not a condition`, {
      hint: "write path=value; operators are =, !=, <, >, <=, >= and & (any of these bits)",
    });
  }
  const [, where, operator, wanted] = match;
  const path = parsePath(where!);
  archesNaming(path);
  return { text, path, operator: operator as Operator, wanted: wanted!.trim() };
}

/**
 * Tests conditions.
 *
 * @param arch whose state it is. @param state what the paths start in: chips by name, and `vcpus`.
 * @throws KvmIrqError `bad-path` for a path that leads nowhere or a value that its field can't have: never
 *   a silent "does not hold".
 */
export function judge(arch: ArchData, state: object, conditions: readonly Condition[]): Verdict[] {
  return conditions.flatMap(({ path, operator, wanted }) =>
    resolvePath(state, path).map((field) => ({
      path: field.path,
      operator,
      wanted,
      found: field.value,
      met: holds(arch, field, operator, wanted),
    })),
  );
}

/**
 * Insists that conditions can be tested, whatever the state that they are put to.
 *
 * @param blank a state with the same fields; what is in them does not matter.
 * @throws KvmIrqError `bad-path`, as {@link judge} does.
 */
export function checkConditions(arch: ArchData, blank: object, conditions: readonly Condition[]): void {
  for (const condition of conditions) {
    const certain = certainPart(condition.path);
    if (certain.steps.length === condition.path.steps.length) judge(arch, blank, [condition]);
    else resolvePath(blank, certain);
  }
}

function holds(arch: ArchData, field: Field, operator: Operator, wanted: string): boolean {
  const { value } = field;
  if (Array.isArray(value)) return listHolds(field, value, operator, wanted);
  if (typeof value === "number" || (typeof value === "string" && value.startsWith("0x"))) {
    return COMPARE[operator](BigInt(value), toNumber(field, wanted));
  }
  if (typeof value === "boolean" || typeof value === "string") {
    refuseOrder(field, operator);
    if (typeof value === "boolean" && !/^(true|false|0|1)$/.test(wanted))
      throw misfit(field, wanted, "true or false");
    const words = wordsOf(arch, field.path);
    if (words !== undefined && !words.includes(wanted)) throw misfit(field, wanted, words.join(", "));
    const found = typeof value === "boolean" && /^[01]$/.test(wanted) ? String(Number(value)) : String(value);
    return (found === wanted) === (operator === "=");
  }
  throw new KvmIrqError("bad-path", `${field.path} is not a single field`, {
    hint: `it has: ${Object.keys(value as object).join(", ")}`,
  });
}

/** A list of vectors holds a vector when it is in it; `[]` stands for the empty list. */
function listHolds(field: Field, list: unknown[], operator: Operator, wanted: string): boolean {
  if (list.some((element) => typeof element !== "number")) {
    throw new KvmIrqError("bad-path", `${field.path} is a list of structures; name one, or all with [*]`);
  }
  refuseOrder(field, operator);
  const met = wanted === "[]" ? list.length === 0 : list.includes(Number(toNumber(field, wanted)));
  return met === (operator === "=");
}

function toNumber(field: Field, text: string): bigint {
  if (!/^(0x[0-9a-fA-F]+|0b[01]+|\d+)$/.test(text))
    throw misfit(field, text, "a number (10, 0x0a or 0b1010)");
  return BigInt(text);
}

function refuseOrder({ path, value }: Field, operator: Operator): void {
  if (operator === "=" || operator === "!=") return;
  const kind = Array.isArray(value) ? "a list of vectors" : "a word";
  throw new KvmIrqError("bad-path", `${path} is ${kind}: it can be compared with = and != alone`);
}

function misfit({ path }: Field, text: string, wanted: string): KvmIrqError {
  return new KvmIrqError("bad-path", `${path} is compared with ${wanted}, not ${JSON.stringify(text)}`);
}
