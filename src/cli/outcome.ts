import { KvmIrqError } from "../abi/error.ts";
import type { Context, Outcome } from "./command.ts";
import { namedFile } from "./parsers.ts";

/** What becomes of what a command gives back: the form that was asked for, and the place. */

/** Shows it, in the form that its options ask for. */
export async function show(
  { bytes, json, text }: Outcome,
  context: Pick<Context, "globals" | "view" | "write">,
): Promise<void> {
  if (bytes !== undefined) context.write(bytes);
  else if (context.globals.json) {
    if (json !== undefined) context.write(`${JSON.stringify(json)}\n`);
  } else if (text !== undefined) context.write(await text(await context.view()));
}

/**
 * Writes it to the file that `--output` names, whole or not at all.
 *
 * @returns what is left to show; all of it where standard output is meant.
 * @throws KvmIrqError `output-failed`.
 */
export async function toFile(output: string | undefined, outcome: Outcome): Promise<Outcome> {
  const path = namedFile(output);
  if (path === undefined) return outcome;
  const { bytes, text, json: _, ...rest } = outcome;
  const content = bytes ?? (await text?.((await import("../text/view.ts")).plainView())) ?? "";
  const { Draft } = await import("./draft.ts");
  const draft = new Draft(path);
  draft.write(content);
  draft.commit();
  return rest;
}

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
