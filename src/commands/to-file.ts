import { lstatSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { KvmIrqError } from "../abi/error.ts";
import type { Outcome } from "./command.ts";

/**
 * Writes what a command gives back to a file instead, whole or not at all.
 *
 * @throws KvmIrqError `output-failed`.
 */
export async function toFile(path: string, { bytes, text, ...rest }: Outcome): Promise<Outcome> {
  const content = bytes ?? (await text?.((await import("../render/view.ts")).plainView())) ?? "";
  try {
    writeWhole(path, content);
  } catch (error) {
    throw new KvmIrqError("output-failed", `${path} can't be written: ${(error as Error).message}`, {
      details: { path },
    });
  }
  return rest;
}

/** Beside its final place and then renamed, unless that place is a device or pipe. */
function writeWhole(path: string, content: Uint8Array | string): void {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats !== undefined && !stats.isFile()) {
    writeFileSync(path, content);
    return;
  }
  const draft = `${path}.${process.pid}.tmp`;
  try {
    writeFileSync(draft, content, stats === undefined ? {} : { mode: stats.mode });
    renameSync(draft, path);
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  }
}
