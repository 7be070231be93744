import { Chalk, type ChalkInstance, supportsColor } from "chalk";

/** How text for people is to look: the colours, and the room there is. */
export interface View {
  paint: ChalkInstance;
  /** Columns of the terminal; without one there is no limit but `COLUMNS`. */
  columns: number;
}

/**
 * The view for a stream: colour follows `FORCE_COLOR`, then `NO_COLOR`, then the terminal; the width
 * follows the terminal, else `COLUMNS`.
 *
 * @param stream where the text goes.
 */
export function viewFor(stream: { isTTY?: boolean; columns?: number }, env = process.env): View {
  const forced = env["FORCE_COLOR"];
  const refused = env["NO_COLOR"] !== undefined && env["NO_COLOR"] !== "";
  const asked = forced !== undefined && forced !== "0" && forced !== "false";
  const able = supportsColor === false ? 0 : supportsColor.level;
  const level = asked ? Math.max(able, 1) : refused || stream.isTTY !== true ? 0 : able;
  return {
    paint: new Chalk({ level: level as 0 | 1 | 2 | 3 }),
    columns: stream.isTTY === true ? terminalColumns(stream.columns) : wantedColumns(env),
  };
}

/** A serial console, or a pty that nobody gave a size, has 0 columns (ioctl_tty(2), TIOCGWINSZ). */
export function terminalColumns(columns: number | undefined): number {
  return columns || 80;
}

/** `COLUMNS`, which shells keep to themselves: where it is exported, somebody wants that width. */
function wantedColumns(env: NodeJS.ProcessEnv): number {
  const columns = Number(env["COLUMNS"]);
  return Number.isInteger(columns) && columns > 0 ? columns : Number.POSITIVE_INFINITY;
}

/** The view for what goes into a file: no colour, no limit. */
export function plainView(): View {
  return { paint: new Chalk({ level: 0 }), columns: Number.POSITIVE_INFINITY };
}
