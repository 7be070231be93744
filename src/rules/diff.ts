/** A field that differs. */
export interface Difference {
  /** As `set` and `expect` name it: `ioapic.redirtbl[4].mask`. */
  path: string;
  /** Absent on the side that does not have the field. */
  from?: unknown;
  to?: unknown;
  /** Bits of a register, or vectors of a list, that are there in `to` alone. */
  set?: number[];
  /** Those that are there in `from` alone. */
  cleared?: number[];
}

/**
 * Compares decoded state field by field. Elements that belong to a vCPU are matched by its number; lists
 * of vectors are one field.
 *
 * @param a the state before. @param b the state after.
 */
export function diffState(a: unknown, b: unknown, path = ""): Difference[] {
  if (Object.is(a, b)) return [];
  if (isVectorList(a) && isVectorList(b)) {
    return a.length === b.length && a.every((vector, index) => vector === b[index])
      ? []
      : [{ path, from: a, to: b }];
  }
  if (Array.isArray(a) && Array.isArray(b))
    return diffMembers(byIndex(a), byIndex(b), (key) => `${path}[${key}]`);
  if (isRecord(a) && isRecord(b)) {
    return diffMembers(new Map(Object.entries(a)), new Map(Object.entries(b)), (key) =>
      path === "" ? key : `${path}.${key}`,
    );
  }
  return [{ path, ...(a === undefined ? {} : { from: a }), ...(b === undefined ? {} : { to: b }) }];
}

function diffMembers(
  a: Map<string, unknown>,
  b: Map<string, unknown>,
  pathOf: (key: string) => string,
): Difference[] {
  const keys = new Set([...a.keys(), ...b.keys()]);
  return [...keys].flatMap((key) => diffState(a.get(key), b.get(key), pathOf(key)));
}

function byIndex(list: readonly unknown[]): Map<string, unknown> {
  return new Map(
    list.map((element, position) => [
      String(isRecord(element) && typeof element["vcpu"] === "number" ? element["vcpu"] : position),
      element,
    ]),
  );
}

function isVectorList(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((element) => typeof element === "number");
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
