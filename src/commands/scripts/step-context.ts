import type { VmAddress } from "../../abi/advice.ts";
import type { Context, GlobalOptions, Program } from "../../cli/command.ts";
import type { View } from "../../text/view.ts";
import type { Source } from "../../vm/source.ts";

/** The context of a command that runs inside another one, on its target. */
export class StepContext implements Context {
  readonly globals: GlobalOptions;
  readonly address: VmAddress;
  readonly #outer: Context;
  readonly #source: Source;

  /** @param address how the target is to be named; as the outer command's when not given. */
  constructor(outer: Context, source: Source, globals: GlobalOptions = {}, address = outer.address) {
    this.#outer = outer;
    this.#source = source;
    this.globals = globals;
    this.address = address;
  }

  get program(): Program {
    return this.#outer.program;
  }

  get signal(): AbortSignal {
    return this.#outer.signal;
  }

  async source(): Promise<Source> {
    return this.#source;
  }

  notice(line: string): void {
    this.#outer.notice(line);
  }

  progress(line: string): void {
    this.#outer.progress(line);
  }

  write(text: string | Uint8Array): void {
    this.#outer.write(text);
  }

  view(): Promise<View> {
    return this.#outer.view();
  }
}
