import * as v from "valibot";
import type { Field, Fields } from "./field.ts";

/** Whole numbers of so many bits. */
export const unsigned = (bits: number) =>
  v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(2 ** bits - 1));

/** 64 bits as decoded state has them: a number while it is exact, else hexadecimal text. */
export const u64Schema = v.union([
  v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(Number.MAX_SAFE_INTEGER)),
  v.pipe(
    v.string(),
    v.regex(
      /^0x[0-9a-f]{1,16}$/,
      ({ received }) => `${received} is not a number such as 0x1ff, of up to 16 digits in lower case`,
    ),
  ),
]);

/**
 * What the decoded form of each field has to be, by name; for a schema of their structure.
 *
 * @param alike structures that differ in the length of their lists, each of which is allowed.
 */
export function fieldSchemas(
  fields: Fields,
  alike: readonly Fields[] = [fields],
): Record<string, v.GenericSchema> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, field]) => {
      const lengths = alike.flatMap((other) => lengthOf(other[name]) ?? []);
      const schema = lengths.length === 0 ? schemaOf(field) : listOf(schemaOf(field), lengths);
      return [name, field.optional || field.perhaps ? v.exactOptional(schema) : schema];
    }),
  );
}

/** How many elements a list has; nothing for what is none. */
export function lengthOf(field: Field | undefined): number | undefined {
  return field?.shape.kind === "list" ? field.shape.length : undefined;
}

function listOf(schema: v.GenericSchema, lengths: readonly number[]): v.GenericSchema {
  return v.pipe(
    schema as v.GenericSchema<unknown[]>,
    v.minLength(Math.min(...lengths)),
    v.maxLength(Math.max(...lengths)),
  );
}

/** What a field's decoded form has to be, but for the length of a list. */
function schemaOf({ shape }: Field): v.GenericSchema {
  switch (shape.kind) {
    case "unsigned":
      return unsigned(shape.bits);
    case "u64":
      return u64Schema;
    case "flag":
      return v.boolean();
    case "word":
      return shape.open
        ? v.union([v.picklist(shape.words), unknownWord(shape.words)])
        : v.picklist(shape.words);
    case "vectors":
      return v.array(unsigned(8));
    case "record":
      return v.strictObject(fieldSchemas(shape.fields));
    case "list":
      return v.array(schemaOf(shape.of));
    case "sparse":
      return v.record(v.picklist(shape.offsets), unsigned(32));
  }
}

function unknownWord(words: readonly string[]) {
  return v.pipe(
    v.string(),
    v.regex(/^unknown-\d{1,10}$/, ({ received }) => `${received} is not one of ${words.join(", ")}`),
  );
}
