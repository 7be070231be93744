import { closeSync, lstatSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { KvmIrqError } from "../abi/error.ts";

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
        this.#fd = openSync(path, "w");
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
      const bytes = typeof piece === "string" ? Buffer.from(piece) : piece;
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
      throw new KvmIrqError("output-failed", `${this.#path} can't be written: ${(error as Error).message}`, {
        details: { path: this.#path },
      });
    }
  }
}
