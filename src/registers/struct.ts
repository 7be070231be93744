import { viewOf } from "../abi/u64.ts";
import { type Fields, type RecordOf, record } from "./field.ts";

/**
 * What is read and written as one piece: the one description that its codec, schema, paths and differences follow
 * from. A {@link struct} is one: a structure that an ioctl fills. Registers that are read one by one, as the
 * vGIC's are, are another: see bank.ts.
 */
export interface Layout<F extends Fields = Fields> {
  /** As `<linux/kvm.h>` or `<asm/kvm.h>` calls it. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** The same structure in all the sizes that it has had, this one first; see {@link ofSizes}. */
  readonly versions?: readonly Layout[];
  readonly fields: F;
  /**
   * Decodes the structure.
   *
   * @param bytes at least `size` of them; what follows is not looked at.
   * @throws RangeError for fewer.
   */
  decode(bytes: Uint8Array): RecordOf<F>;
  /** Encodes it: `size` bytes, zero where no field is. */
  encode(state: RecordOf<F>): Uint8Array;
  /** Writes its fields into bytes; what no field names stays as it is. */
  put(bytes: Uint8Array, state: RecordOf<F>): void;
}

/** Describes a structure; each field says where in it it is. */
export function struct<F extends Fields>(name: string, size: number, fields: F): Layout<F> {
  const { read, write } = record(0, fields);
  const put = (bytes: Uint8Array, state: RecordOf<F>) => write(viewOf(bytes), 0, state);
  return {
    name,
    size,
    fields,
    decode(bytes) {
      if (bytes.length < size) throw new RangeError(`${bytes.length} bytes are no struct ${name} of ${size}`);
      return read(viewOf(bytes), 0);
    },
    encode(state) {
      const bytes = new Uint8Array(size);
      put(bytes, state);
      return bytes;
    },
    put,
  };
}

/**
 * One structure in several sizes, as kernels or architectures have extended it: bytes are of the one whose size they
 * have, state is of the shortest one that has all its fields, and lists as long as its own.
 *
 * @param usual what an image is, as long as nothing says otherwise.
 */
export function ofSizes<F extends Fields>(usual: Layout<F>, ...others: readonly Layout[]): Layout<F> {
  const versions = [usual, ...others] as unknown as readonly Layout<F>[];
  const rising = versions.toSorted((one, other) => one.size - other.size);
  const ofState = (state: RecordOf<F>) => rising.find(({ fields }) => fits(fields, state)) ?? usual;
  return {
    ...usual,
    versions,
    // In a newer version's fields, those that older ones lack need not be there.
    fields: Object.fromEntries(
      Object.entries(Object.assign({}, ...versions.map(({ fields }) => fields), usual.fields) as F).map(
        ([name, field]) => [
          name,
          versions.every(({ fields }) => name in fields) ? field : { ...field, optional: true },
        ],
      ),
    ) as unknown as F,
    decode: (bytes) => (versions.find(({ size }) => size === bytes.length) ?? usual).decode(bytes),
    encode: (state) => ofState(state).encode(state),
    put: (bytes, state) => (versions.find(({ size }) => size === bytes.length) ?? usual).put(bytes, state),
  };
}

function fits(fields: Fields, state: object): boolean {
  const has = (name: string) => Object.hasOwn(state, name);
  return (
    Object.keys(state).every((name) => name in fields || name === "vcpu") &&
    Object.entries(fields).every(([name, { optional, shape }]) => {
      if (!has(name)) return optional === true;
      const value: unknown = (state as Record<string, unknown>)[name];
      return shape.kind !== "list" || (Array.isArray(value) && value.length === shape.length);
    })
  );
}

/** A layout in all the sizes that it has, the usual one first. */
export function versionsOf(layout: Layout): readonly Layout[] {
  return layout.versions ?? [layout];
}

/** The sizes that an image of a layout can have. */
export function sizesOf(layout: Layout): number[] {
  return versionsOf(layout).map(({ size }) => size);
}
