import type { Command } from "commander";
import type { VmAddress } from "../abi/advice.ts";
import type { SourceChoice, WayName } from "../sources/open.ts";
import type { View } from "../text/view.ts";
import type { SourceInfo } from "../vm/reading.ts";
import type { Routing } from "../vm/routing.ts";
import type { Source } from "../vm/source.ts";
import type { CommandSyntax, Completed } from "./completion/syntax.ts";

/** Options that every command takes, before or after its name. */
export interface GlobalOptions extends SourceChoice {
  /** Every process that --pid names, where a command takes several; `pid` is the last of them. */
  pids?: number[];
  json?: true;
  yes?: true;
  debug?: true;
}

/** What a command gives back: the same thing as a value for `--json` and as text for people. */
export interface Outcome {
  /** The exit status, 0 unless said otherwise. */
  status?: number;
  /** What `--json` prints. */
  json?: unknown;
  /** What a person is shown; nothing when absent. */
  text?: (view: View) => string | Promise<string>;
  /** Output that is neither, such as raw chip bytes: printed as it is, whatever `--json` says. */
  bytes?: Uint8Array;
}

/** A command line that has been checked: what it asks for, ready to run. */
export interface Parsed {
  /** The command's name. */
  name: string;
  scriptable: boolean;
  /** Whether it changes its target. */
  writes: boolean;
  globals: GlobalOptions;
  /**
   * Checks it against what a target has.
   *
   * @returns what the target has behind it.
   * @throws KvmIrqError what is wrong with it.
   */
  fits(info: SourceInfo): SourceInfo;
  run(context: Context): Promise<Outcome>;
}

/** What is shown instead of running a command, and whether that was asked for. */
export interface Help {
  help: string;
  asked: boolean;
}

/** The program that a command is part of, for those that run others or tell what there is. */
export interface Program {
  /** Checks a command line without running it. @throws KvmIrqError what is wrong with it. */
  parse(argv: readonly string[]): Promise<Parsed | Help>;
  /** What can be typed: the program itself, then its commands. */
  syntax(): Promise<CommandSyntax[]>;
}

/** What a command knows of its target beyond the options that all take. */
export interface SourceOptions extends Pick<SourceChoice, "layout"> {
  /** Whether it is going to be changed, when the command line alone did not tell. */
  writes?: boolean;
}

/** What a command runs in: the world outside, as little of it as commands need. */
export interface Context {
  globals: GlobalOptions;
  /** How advice is to name the target. */
  address: VmAddress;
  program: Program;
  /** Opens the target that the options name. Closed by whoever made the context. */
  source(options?: SourceOptions): Promise<Source>;
  /** Aborted by SIGINT, SIGTERM or SIGHUP; a command then ends early and cleanly, with status 130. */
  signal: AbortSignal;
  /** A line for the person at the terminal, on stderr. */
  notice(line: string): void;
  /** Shows progress in place, on stderr, where that is a terminal. An empty line ends it. */
  progress(line: string): void;
  /** Writes a piece of a stream to stdout at once; for commands that do not end by themselves. */
  write(text: string | Uint8Array): void;
  /** How text for people is to look. */
  view(): Promise<View>;
}

/** One command: how it is called, and what it does. */
export interface CommandSpec {
  /** Whether it can be a line of a script: it works on a target, and comes to an end. */
  scriptable?: true;
  /** What it does, for the list of commands, and for its own help. */
  summary: string;
  description: string;
  /** What its help says below the options, before the examples. */
  notes?: string;
  /** What it does in practice, at the end of its help. */
  examples: readonly [call: string, what: string][];
  /** Declares arguments and options. Bad values are refused here, before anything runs. */
  declare?(command: Command): void;
  /** Whether it changes its target; a VM of another process is not changed without a question. */
  writes?: true | ((...parsed: never[]) => boolean);
  /** The ways to name a target that it takes; all of them when not given. */
  targets?: readonly WayName[];
  /** Whether it may turn out to change its target though the command line does not tell: it takes --yes. */
  asks?: true;
  /** Options for a target that it refuses itself, with a reason of its own. */
  refuses?: "all" | readonly (keyof SourceChoice)[];
  /** What its arguments can be that commander does not know, for the completion of shells. */
  completes?: Completed;
  /** Whether --pid can be repeated. */
  severalPids?: true;
  /**
   * Checks what no parser of a single value can: whether arguments and options go together. All of it stands
   * here, and looks at nothing else: a script is checked by it before its first line runs.
   */
  check?(globals: GlobalOptions, ...parsed: never[]): void;
  /**
   * Checks it against what a target has, without its state: that chips, elements and GSIs are there, and
   * values fit. `run` finds the same; a script is checked whole by this before it runs.
   */
  fits?(info: SourceInfo, ...parsed: never[]): void;
  /** The routing that its target has behind it; the one that it had, when not given. */
  routing?(info: SourceInfo, ...parsed: never[]): Routing | undefined;
  /** Runs it with what commander parsed: the arguments in order, then the options. */
  run(context: Context, ...parsed: never[]): Promise<Outcome>;
}

/** The commands in the order of `--help`, by its groups; each is loaded when it is called. */
export type Groups = Readonly<Record<string, Readonly<Record<string, () => Promise<CommandSpec>>>>>;
