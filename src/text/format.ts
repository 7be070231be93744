import { hex as bitsHex } from "../abi/bits.ts";
import { printable } from "../abi/printable.ts";

/** Numbers as the manuals write them. */

/** Hexadecimal with `0x`, padded to so many digits; of a string what number it is. */
export function hex(value: number | string, digits = 2): string {
  return bitsHex(BigInt(value), digits);
}

/** Vectors in hexadecimal, or a dash for none. */
export function vectors(list: readonly number[]): string {
  return list.length === 0 ? "-" : list.map((vector) => hex(vector)).join(" ");
}

/** `1 pulse`, `2 pulses`. */
export function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? "" : "s"}`;
}

/** A count in its colour, but for none. */
export function some(n: number, colour: (text: string) => string): string {
  return n === 0 ? "0" : colour(String(n));
}

/** Any field's value: numbers in hexadecimal, lists as vectors, words as they are. */
export function value(field: unknown): string {
  if (field === undefined) return "absent";
  if (typeof field === "number") return hex(field);
  if (Array.isArray(field)) return vectors(field as number[]);
  return printable(typeof field === "string" ? field : JSON.stringify(field));
}
