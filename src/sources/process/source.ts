import { KvmIrqError } from "../../abi/error.ts";
import { isAble, type Operation, type Params, type Result } from "../../vm/operations.ts";
import type { Identity, Reading, Wanted } from "../../vm/reading.ts";
import type { Source } from "../../vm/source.ts";

/** How to look at it: `auto` takes the kernel's memory for reading where that can be read. */
export type Via = "auto" | "kernel" | "ptrace";

/** What keeps the kernel's memory from somebody: ptrace works all the same, or can say better why not. */
const OTHERS_SAY_WHY: ReadonlySet<string> = new Set(["bpf-unavailable", "attach-refused"]);

interface Process {
  pid: number;
  vmFd?: number | undefined;
}

/**
 * Opens the VM inside another process by the way asked for.
 *
 * @throws KvmIrqError what keeps that way from it; with `auto` what keeps ptrace from it, where the kernel's memory
 *   can't be read either.
 */
export async function openBy(via: Via, process: Process): Promise<Source> {
  if (via === "ptrace") return openPtrace(process);
  const { openByKernel } = await import("../kernel/source.ts");
  try {
    const kernel = await openByKernel(process);
    return via === "kernel" ? kernel : new ReadByKernel(kernel, () => openPtrace(process));
  } catch (error) {
    if (via === "kernel" || !(error instanceof KvmIrqError && OTHERS_SAY_WHY.has(error.code))) throw error;
    return openPtrace(process);
  }
}

async function openPtrace(process: Process): Promise<Source> {
  const { openProcess } = await import("../attach/source.ts");
  return openProcess(process);
}

/** A VM that is read in the kernel's memory, and changed by ptrace. */
class ReadByKernel implements Source {
  readonly #kernel: Source;
  readonly #openOther: () => Promise<Source>;
  #other: Promise<Source> | undefined;

  constructor(kernel: Source, openOther: () => Promise<Source>) {
    this.#kernel = kernel;
    this.#openOther = openOther;
  }

  get identity(): Identity {
    return this.#kernel.identity;
  }

  can(name: Operation): boolean {
    return isAble({}, name);
  }

  read(wanted: Wanted): Promise<Reading> {
    return this.#kernel.read(wanted);
  }

  async perform<N extends Operation>(name: N, params: Params<N>): Promise<Result<N>> {
    this.#other ??= this.#openOther();
    return (await this.#other).perform(name, params);
  }

  async close(): Promise<void> {
    await this.#kernel.close();
    await (await this.#other?.catch(() => undefined))?.close();
  }
}
