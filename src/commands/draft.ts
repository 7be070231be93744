import { closeSync, lstatSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { KvmIrqError } from "../abi/error.ts";
import { guarded } from "../abi/printable.ts";
import { interruptibly } from "../target/signal-guard.ts";

/**
 * A file that comes to be whole or not at all: written beside its place and then renamed, unless that place
 * is a device or a pipe, which is written to as it goes.
 *
 * Every method throws KvmIrqError `output-failed`, and then nothing is left beside the place.
 */
export class Draft {
  readonly #path: string;
  /** Where it is written until it is whole; `undefined` when that is its place already. */
  #beside: string | undefined;
  #fd = -1;
  readonly #onExit = () => this.discard();

  constructor(path: string) {
    this.#path = path;
    this.#guard(() => {
      const stats = lstatSync(path, { throwIfNoEntry: false });
      if (stats !== undefined && !stats.isFile()) {
        // A pipe opens once it has a reader.
        this.#fd = interruptibly(() => openSync(path, "w"));
        return;
      }
      const beside = `${path}.${process.pid}.tmp`;
      this.#fd = openSync(beside, "w", stats?.mode);
      this.#beside = beside;
      process.on("exit", this.#onExit);
    });
  }

  write(piece: Uint8Array | string): void {
    this.#guard(() => {
      const bytes = typeof piece === "string" ? Buffer.from(guarded(piece)) : piece;
      for (let done = 0; done < bytes.length; ) done += writeSync(this.#fd, bytes, done);
    });
  }

  /** It is whole: puts it in its place. */
  commit(): void {
    this.#guard(() => {
      this.#close();
      if (this.#beside !== undefined) renameSync(this.#beside, this.#path);
      this.#beside = undefined;
    });
  }

  /** It will not become whole. Harmless after {@link commit}. */
  discard(): void {
    this.#close();
    if (this.#beside !== undefined) rmSync(this.#beside, { force: true });
    this.#beside = undefined;
  }

  #close(): void {
    process.off("exit", this.#onExit);
    if (this.#fd !== -1) closeSync(this.#fd);
    this.#fd = -1;
  }

  #guard(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.discard();
      throw unwritable(this.#path, error);
    }
  }
}

/** What a person can do about the commonest reasons why a file can't be written. */
const REASONS: Record<string, [why: string, hint: string]> = {
  ENOENT: ["there is no such folder", "make the folder first, or write to another place"],
  ENOTDIR: ["a part of the path is not a folder", "write to another place"],
  EISDIR: ["it is a folder", "give the name of a file in it"],
  EACCES: ["no permission", "write to another place, or as a user who may"],
  EROFS: ["the file system is read-only", "write to another place"],
  ENOSPC: ["no space left on the device", "make room, or write to another place"],
};

function unwritable(path: string, error: unknown): KvmIrqError {
  const { code = "", message } = error as NodeJS.ErrnoException;
  const [why, hint] = REASONS[code] ?? [message, "write to another place"];
  return new KvmIrqError("output-failed", `${path} can't be written: ${why}`, {
    hint,
    details: { path, errno_name: code },
  });
}
