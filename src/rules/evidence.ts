/** What a field of the state says: a condition that can be put to that state again. */
export interface Evidence {
  path: string;
  /** A value, a bit that is set or clear, a vector that a list has or lacks, or that there is no such field. */
  operator: "=" | "&" | "!&" | "has" | "lacks" | "missing";
  /** Of a bit its number. A number as a string is shown as it is written: "0x10". */
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
export const bitSet = claim("&");
export const bitClear = claim("!&");
export const listHas = claim("has");
export const listLacks = claim("lacks");
export const missing = (path: string): Evidence => claim("missing")(path, "");
export const before = (evidence: Evidence): Evidence => ({ ...evidence, before: true });
