import type { Outcome } from "./command.ts";
import { Draft } from "./draft.ts";

/**
 * Writes what a command gives back to a file instead, whole or not at all.
 *
 * @throws KvmIrqError `output-failed`.
 */
export async function toFile(path: string, { bytes, text, json: _, ...rest }: Outcome): Promise<Outcome> {
  const content = bytes ?? (await text?.((await import("../text/view.ts")).plainView())) ?? "";
  const draft = new Draft(path);
  draft.write(content);
  draft.commit();
  return rest;
}
