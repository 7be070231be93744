import type { VmAddress } from "../abi/advice.ts";
import { printable } from "../abi/printable.ts";
import { addressOf, openSource, wayOf } from "../sources/open.ts";
import type { View } from "../text/view.ts";
import type { Source } from "../vm/source.ts";
import type { Context, GlobalOptions, Parsed, Program, SourceOptions } from "./command.ts";
import { writeToStderr, writeToStdout } from "./standard-output.ts";

/** The context of a command that is a process of its own: the shell's stdout, stderr and signals. */
export class ProcessContext implements Context {
  readonly globals: GlobalOptions;
  readonly address: VmAddress;
  readonly program: Program;
  readonly #writes: boolean;
  readonly #abort = new AbortController();
  #source: Promise<Source> | undefined;
  #entered = false;
  /** Whether the VM of another process may be changed. */
  #agreed: boolean;
  #progressShown = false;

  constructor({ globals, writes }: Pick<Parsed, "globals" | "writes">, program: Program) {
    this.globals = globals;
    this.address = addressOf(globals);
    this.#writes = writes;
    this.#agreed = globals.yes === true;
    this.program = program;
    const interrupt = () => {
      // A second Ctrl-C means it: whatever the command waits for, it ends.
      if (this.#abort.signal.aborted) process.exit(130);
      this.#abort.abort();
    };
    // SIGHUP is a terminal that was closed: what is held high, or half written, must not outlive it.
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, interrupt);
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  source({ layout, writes = this.#writes }: SourceOptions = {}): Promise<Source> {
    this.#source ??= openSource({ ...this.globals, layout }, this.signal);
    return wayOf(this.globals).asksToChange ? this.#enter(this.#source, writes) : this.#source;
  }

  /** A process is not ours: its VM is not changed without a word from its owner. */
  async #enter(opening: Promise<Source>, writes: boolean): Promise<Source> {
    const source = await opening;
    const { askToChange, recommendSession } = await import("./admit.ts");
    if (!this.#entered) recommendSession(source, this);
    this.#entered = true;
    if (writes && !this.#agreed) await askToChange(source, this);
    this.#agreed ||= writes;
    return source;
  }

  notice(line: string): void {
    this.progress("");
    writeToStderr(line);
  }

  progress(line: string): void {
    if (!process.stderr.isTTY || (line === "" && !this.#progressShown)) return;
    process.stderr.write(`\r\u001b[K${printable(line)}`);
    this.#progressShown = line !== "";
  }

  write(text: string | Uint8Array): void {
    writeToStdout(text);
  }

  async view(): Promise<View> {
    const { viewFor } = await import("../text/view.ts");
    return viewFor(process.stdout);
  }

  /** Lets go of the target, so that the process can end. */
  async close(): Promise<void> {
    const source = await this.#source?.catch(() => undefined);
    await source?.close();
  }
}
