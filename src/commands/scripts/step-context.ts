import type { Context, GlobalOptions } from "../../cli/command.ts";
import type { Source } from "../../vm/source.ts";

/**
 * The context of a command that runs inside another one, on its target.
 *
 * @param address how the target is to be named; as the outer command's when not given.
 */
export function stepContext(
  outer: Context,
  source: Source,
  globals: GlobalOptions,
  address = outer.address,
): Context {
  return {
    globals,
    address,
    program: outer.program,
    signal: outer.signal,
    source: async () => source,
    notice: (line) => outer.notice(line),
    progress: (line) => outer.progress(line),
    write: (text) => outer.write(text),
    view: () => outer.view(),
  };
}
