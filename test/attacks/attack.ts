import type { User } from "../support/cli.ts";
import type { Random } from "./random.ts";

/** What one attack has found. */
export class Tally {
  tried = 0;
  /** What went wrong, one sentence for each try that did. */
  readonly wrong: string[] = [];
  /** The most memory that a program took, in KiB, and the most CPU time, in milliseconds. */
  worstKib = 0;
  worstMs = 0;

  /** Counts a try. @param problems none is right. */
  count(what: string, problems: readonly string[]): void {
    this.tried++;
    if (problems.length > 0) this.wrong.push(`${what}: ${problems.join("; ")}`);
  }

  /** Notes what a program took. */
  took({ kib = 0, ms = 0 }: { kib?: number | undefined; ms?: number | undefined }): void {
    this.worstKib = Math.max(this.worstKib, kib);
    this.worstMs = Math.max(this.worstMs, ms);
  }
}

/** What an attack has at hand: its own random source, a user with an empty folder, and where it counts. */
export interface Arena {
  random: Random;
  user: User;
  tally: Tally;
}

/** One way to attack the program. */
export interface Attack {
  /** Short and unique: `npm run attack -- NAME` runs it alone. */
  name: string;
  /** What is attacked, and with what. */
  what: string;
  /** How many tries in `npm test` and in `npm run attack`. */
  short: number;
  long: number;
  /** What this machine lacks for it. */
  lacking?: string | false | undefined;
  run(arena: Arena, count: number): Promise<void>;
}
