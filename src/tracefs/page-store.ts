import { closeSync, openSync, readSync, unlinkSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A page that is kept: its bytes, or its place in the file. */
export type StoredPage = Uint8Array | number;

/** What is kept in memory and in the file at most. */
export interface StoreLimits {
  memory: number;
  file: number;
}

/** 32 MiB in memory; 1 GiB on disk is a minute of 300,000 events a second. */
const LIMITS: StoreLimits = { memory: 32 << 20, file: 1 << 30 };
/** A disk, where the folder for temporary files may be memory. */
const FOLDERS = ["/var/tmp", tmpdir()];

/**
 * Keeps pages until there is time for them: some in memory, the others in a file that has no name, so that
 * nothing is left of it however this process ends.
 */
export class PageStore {
  readonly #size: number;
  readonly #inMemory: number;
  readonly #inFile: number;
  #held = 0;
  #fd: number | undefined;
  #slots = 0;
  readonly #free: number[] = [];
  #takesFile = true;

  /** @param size bytes of a page. */
  constructor(size: number, limits: StoreLimits = LIMITS) {
    this.#size = size;
    this.#inMemory = Math.floor(limits.memory / size);
    this.#inFile = Math.floor(limits.file / size);
  }

  /** Whether another page is welcome. */
  get hasRoom(): boolean {
    return (
      this.#held < this.#inMemory ||
      (this.#takesFile && (this.#free.length > 0 || this.#slots < this.#inFile))
    );
  }

  /** Keeps a copy of a page. */
  put(page: Uint8Array): StoredPage {
    const slot = this.#held < this.#inMemory ? undefined : this.#write(page);
    if (slot !== undefined) return slot;
    this.#held++;
    return Uint8Array.prototype.slice.call(page);
  }

  #write(page: Uint8Array): number | undefined {
    const slot = this.#free.pop() ?? this.#slots++;
    try {
      this.#fd ??= openUnnamed();
      if (writeSync(this.#fd, page, 0, this.#size, slot * this.#size) === this.#size) return slot;
    } catch {
      // No folder to write in, or a full disk: from now on what does not fit stays in the kernel's buffer.
    }
    this.#takesFile = false;
    return undefined;
  }

  /** Gives a page back, which is then kept no longer. */
  take(page: StoredPage): Uint8Array {
    if (typeof page !== "number") {
      this.#held--;
      return page;
    }
    const bytes = new Uint8Array(this.#size);
    readSync(this.#fd!, bytes, 0, this.#size, page * this.#size);
    this.#free.push(page);
    return bytes;
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }
}

function openUnnamed(): number {
  let refusal: unknown;
  for (const folder of FOLDERS) {
    const path = join(folder, `kvm-irq-pages-${process.pid}-${Math.random().toString(36).slice(2)}`);
    try {
      const fd = openSync(path, "wx+", 0o600);
      unlinkSync(path);
      return fd;
    } catch (error) {
      refusal = error;
    }
  }
  throw refusal;
}
