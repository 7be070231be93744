import { viewOf } from "../abi/u64.ts";
import { type Fields, type RecordOf, record } from "./field.ts";

/**
 * What is read and written as one piece: the one description that its codec, schema, paths and differences follow
 * from. A {@link struct} is one: a structure that an ioctl fills. Registers that are read one by one, as the
 * vGIC's are, would be another, their image being what was read of them in turn.
 */
export interface Layout<F extends Fields = Fields> {
  /** As `<linux/kvm.h>` or `<asm/kvm.h>` calls it. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
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
