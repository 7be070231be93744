import type { VmAddress } from "../abi/advice.ts";
import type { Source } from "../vm/source.ts";

/** An option that chooses a target, as data: the command line, its help and its completion are made of it. */
export interface WayOption {
  /** As commander takes it: `--pid <pid>`. Completion offers files for `<file>`, sessions for `<session>`. */
  readonly flags: string;
  readonly description: string;
  /** The words that it can be, or the least and the most of a whole number; else any text. */
  readonly choices?: readonly string[];
  readonly range?: readonly [least: number, most: number];
  /** @throws KvmIrqError what is wrong with the text. */
  parse?(text: string): unknown;
}

/** A way to see a VM: how a command line chooses it, and what opens it. */
export interface Way<Choice> {
  /**
   * By the names that values have in a choice, which are commander's (`vmFd` is `--vm-fd`). The first one names a
   * target; the others go with it.
   */
  readonly options: Readonly<Record<string, WayOption>>;
  /** Whether a VM is somebody else's, and is not changed without a question. */
  readonly asksToChange?: true;
  /** For what can't be changed: how messages name it. */
  readOnly?(choice: Choice): string;
  /** @param writes whether the target is to be changed. @throws KvmIrqError `usage` where it can't be so. */
  check?(choice: Choice, writes: boolean): void;
  /** How a command line names the target again; when not given, with the options that chose it. */
  address?(choice: Choice, env: NodeJS.ProcessEnv): VmAddress;
  /**
   * Opens the target.
   *
   * @param signal aborted when the user gives up.
   * @throws KvmIrqError whatever keeps it from being opened.
   */
  open(choice: Choice, signal?: AbortSignal): Promise<Source>;
}

/** The long form of an option: `--vm-fd`. */
export function longOf({ flags }: WayOption): string {
  return /--[\w-]+/.exec(flags)![0];
}
