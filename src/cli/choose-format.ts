import { KvmIrqError } from "../abi/error.ts";

/**
 * The format that a command line asks for, by `--format` or by `--json`.
 *
 * @param machine what `--json` means.
 * @param people what it is when neither is given.
 * @throws KvmIrqError `usage` when the two ask for different ones.
 */
export function chooseFormat<Format extends string>(
  { json, format }: { json: true | undefined; format: Format | undefined },
  { machine, people }: { machine: Format; people: Format },
): Format {
  if (json === undefined) return format ?? people;
  if (format === undefined || format === machine) return machine;
  throw new KvmIrqError("usage", `--json is --format ${machine}, and not ${format}`, {
    hint: "give one of them",
  });
}
