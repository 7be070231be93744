import { randomBytes } from "node:crypto";
import {
  closeSync,
  existsSync,
  fchmodSync,
  fsyncSync,
  lstatSync,
  openSync,
  renameSync,
  rmSync,
  type Stats,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { KvmIrqError } from "../abi/error.ts";
import { guarded } from "../abi/printable.ts";
import { interruptibly } from "../os/signal-guard.ts";
import { reasonOf } from "../os/system-error.ts";

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
        this.#fd = interruptibly(path, () => openSync(path, "w"));
        return;
      }
      process.on("exit", this.#onExit);
      this.#openBeside(stats);
    });
  }

  /** In a folder that others write to, a name that they can't foresee, and nothing that is there already. */
  #openBeside(replaced: Stats | undefined): void {
    const beside = join(dirname(this.#path), `.kvm-irq-${randomBytes(8).toString("hex")}.tmp`);
    // O_EXCL, which follows no link either (open(2)).
    this.#fd = openSync(beside, "wx");
    this.#beside = beside;
    if (replaced !== undefined) fchmodSync(this.#fd, replaced.mode & 0o777);
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
      // A rename may reach the disk before what was written (rename(2), fsync(2)).
      if (this.#beside !== undefined) fsyncSync(this.#fd);
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

const NO_FOLDER = {
  errno_name: "ENOENT",
  why: "there is no such folder",
  hint: "make the folder first, or write to another place",
};

/** Of folders that the kernel makes, as /proc. */
const NO_NEW_FILES = { errno_name: "ENOENT", why: "no files can be made in its folder" };

function unwritable(path: string, error: unknown): KvmIrqError {
  const isMissing = (error as NodeJS.ErrnoException).code === "ENOENT";
  const missing = existsSync(dirname(path)) ? NO_NEW_FILES : NO_FOLDER;
  const { why, hint, errno_name }: ReturnType<typeof reasonOf> = isMissing ? missing : reasonOf(error);
  return new KvmIrqError("output-failed", `${path} can't be written: ${why}`, {
    hint: hint ?? "write to another place",
    details: { path, errno_name },
  });
}
