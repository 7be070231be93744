import { type Field, type Fields, u32, u64 } from "./field.ts";
import { type Layout, struct } from "./struct.ts";

/** A register that is read and written by itself, as KVM_GET_DEVICE_ATTR gives it. */
export interface Register {
  /** Its number, or offset, in its group. */
  attr: number;
  bytes: 4 | 8;
  /** Where the image has it. */
  at: number;
}

/** Registers that are read one by one: their image is what was read of them, in the order of declaration. */
export interface Bank<F extends Fields = Fields> extends Layout<F> {
  readonly registers: readonly Register[];
}

/** A field of a bank, and the registers side by side that it is read from. */
export interface Declared<T> {
  attr: number;
  bytes: 4 | 8;
  count: number;
  /** The field, given where the image has the first of them. */
  of(at: number): Field<T>;
}

/** A register of 32 bits. @param of what it says, when that is no number: a field of a structure at that place. */
export function reg32(attr: number): Declared<number>;
export function reg32<T>(attr: number, of: (at: number) => Field<T>): Declared<T>;
export function reg32(attr: number, of: (at: number) => Field = u32): Declared<unknown> {
  return { attr, bytes: 4, count: 1, of };
}

/** A register of 64 bits. */
export function reg64(attr: number): Declared<ReturnType<ReturnType<typeof u64>["read"]>> {
  return { attr, bytes: 8, count: 1, of: u64 };
}

/** Registers of 32 bits side by side that one field is made of, such as a bit for each of many interrupts. */
export function regs32<T>(attr: number, count: number, of: (at: number) => Field<T>): Declared<T> {
  return { attr, bytes: 4, count, of };
}

type FieldsOf<D> = { [K in keyof D]: D[K] extends { of(at: number): infer F } ? F : never };

/**
 * Describes registers that are read one by one; codec, schema, paths and differences follow as from a structure.
 * They are written in the order of declaration.
 */
export function bank<D extends Readonly<Record<string, Declared<unknown>>>>(
  name: string,
  declared: D,
): Bank<FieldsOf<D> & Fields> {
  const registers: Register[] = [];
  let size = 0;
  const fields = Object.fromEntries(
    Object.entries(declared).map(([field, { attr, bytes, count, of }]) => {
      const first = size;
      for (let n = 0; n < count; n++, size += bytes)
        registers.push({ attr: attr + n * bytes, bytes, at: size });
      return [field, of(first)];
    }),
  ) as FieldsOf<D> & Fields;
  return { ...struct(name, size, fields), registers };
}

/** The registers of a layout that is a bank. @throws RangeError for a structure, which is read whole. */
export function registersOf(layout: Layout): readonly Register[] {
  if ("registers" in layout) return (layout as Bank).registers;
  throw new RangeError(`struct ${layout.name} is not read register by register`);
}
