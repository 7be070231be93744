import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { createInterface, type Interface } from "node:readline";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { compile } from "../support/attach.ts";
import { PROGRAM } from "../support/cli.ts";

/** What a run of the program came to. */
export interface Ran {
  status: number | null;
  /** The signal that ended it, as a number. */
  signal: number;
  stdout: string;
  stderr: string;
  kib: number;
  /** Of CPU time: how long it takes depends on what else this machine does. */
  ms: number;
}

/** The most memory and CPU time that a call may take, and the time after which it counts as hanging. */
const MOST_KIB = 300 * 1024;
const MOST_CPU_MS = 15_000;
const PATIENCE_S = 60;

/** How `timeout` tells that it had to kill what it ran. */
const SIGKILLED = 137;

/** Every exit status that the README names. */
const STATUSES: readonly (number | null)[] = [0, 1, 2, 3, 4, 5, 6, 130];

/** Characters that a terminal acts on, or shows other than as what they are. Newline and tab apart. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: those are what must not come through
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/;
/** JSON keeps the text that it was given; what a terminal acts on is escaped in it. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: those are what must not come through
const CONTROL_IN_JSON = /[\u0000-\u0008\u000b-\u001f\u0080-\u009f]/;

function controlIn(text: string): string | undefined {
  return (/^\s*[[{]/.test(text) ? CONTROL_IN_JSON : CONTROL).exec(text)?.[0];
}

/**
 * What is wrong with how a call ended: an undocumented status, a bug of its own, a stack trace, more than one line and
 * its hint, a control character, too much memory or time.
 *
 * @param allowed the statuses that make sense here.
 */
export function problemsOf(ran: Ran, allowed: readonly number[] = []): string[] {
  const { status, signal, stdout, stderr, kib, ms } = ran;
  const problems: string[] = [];
  if (status === SIGKILLED) problems.push("no end after Ctrl-C");
  else if (signal !== 0)
    problems.push(signal === 9 ? `no end after ${PATIENCE_S} s` : `ended by signal ${signal}`);
  else if (!STATUSES.includes(status)) problems.push(`status ${status}`);
  else if (allowed.length > 0 && !allowed.includes(status!))
    problems.push(`status ${status}, not ${allowed}`);
  if (/\bunexpected: |"code":"internal"|--debug and report/.test(stderr)) problems.push("an internal error");
  if (/^\s+at .*[:(]|node:internal|Node\.js v\d/m.test(stderr)) problems.push("a stack trace");
  // Who is interrupted, as early as before it listens, need not say so.
  // The answer of `doctor` is its table, also where the host can't be used.
  const answers = status === 3 && stdout.startsWith("CHECK ");
  if (![0, 1, 130].includes(status!) && !answers && !isOneLine(stderr))
    problems.push("not one line and its hint");
  const control = controlIn(stdout) ?? controlIn(stderr);
  if (control !== undefined) problems.push(`a control character U+${hex(control)}`);
  if (kib > MOST_KIB) problems.push(`${Math.round(kib / 1024)} MiB`);
  if (ms > MOST_CPU_MS) problems.push(`${(ms / 1000).toFixed(0)} s of CPU time`);
  if (problems.length > 0) problems.push(`it said ${JSON.stringify((stderr || stdout).slice(0, 300))}`);
  return problems;
}

function hex(character: string): string {
  return character.codePointAt(0)!.toString(16).padStart(4, "0");
}

/** One sentence and its hint; notices may come before them, and JSON is one line. Without any word it is the help. */
function isOneLine(stderr: string): boolean {
  if (stderr.startsWith("Usage: kvm-irq [options] <command>")) return true;
  const lines = stderr.trimEnd().split("\n");
  if (lines.at(-1)?.startsWith("hint: ")) lines.pop();
  const said = lines.filter((line) => /^kvm-irq: |^\{"error"/.test(line));
  return said.length === 1 && said[0] === lines.at(-1);
}

export interface CallOptions {
  env?: NodeJS.ProcessEnv | undefined;
  cwd?: string | undefined;
  input?: string | Buffer | undefined;
  /** What the program is run with, such as `sh -c 'ulimit -n 20; exec "$@"' sh`. */
  prefix?: readonly string[];
}

/** A prefix that sends what Ctrl-C does after so many seconds, and kills what does not end then. */
export function interruptedAfter(seconds: number): string[] {
  return ["timeout", "--preserve-status", "-k", "20", "-s", "INT", seconds.toFixed(2)];
}

/** Runs the program as a shell does, and measures it. */
export async function call(args: readonly string[], options: CallOptions = {}): Promise<Ran> {
  return measure([...(options.prefix ?? []), process.execPath, PROGRAM, ...args], options);
}

/** Runs any program and measures it. */
export async function measure(
  command: readonly string[],
  { env, cwd, input }: CallOptions = {},
): Promise<Ran> {
  const child = spawn(resolve(compile("measured", "attacks")), [String(PATIENCE_S), ...command], {
    env: env ?? process.env,
    cwd,
    stdio: ["pipe", "pipe", "pipe", "pipe"],
  });
  child.stdin!.on("error", () => {});
  child.stdin!.end(input ?? "");
  const [stdout, stderr, result] = await Promise.all([
    textOf(child.stdout!),
    textOf(child.stderr!),
    textOf(child.stdio[3] as Readable),
  ]);
  const [status = Number.NaN, signal = 0, kib = 0, ms = 0] = result.trim().split(" ").map(Number);
  return { status: status === -1 ? null : status, signal, stdout, stderr, kib, ms };
}

/** What a stream gives, of which a flood is cut off. */
async function textOf(stream: Readable): Promise<string> {
  const pieces: Buffer[] = [];
  let size = 0;
  for await (const piece of stream) {
    size += piece.length;
    if (size < 64 * 2 ** 20) pieces.push(piece);
  }
  return Buffer.concat(pieces).toString("utf8");
}

/** What a process that hangs is doing: its state, and its system call with the arguments. */
function whereabouts(pid: number): string {
  const [state] = /^State:.*/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return `it hung: ${state}, in system call ${readFileSync(`/proc/${pid}/syscall`, "utf8").trim()}\n`;
}

/** How long a call of many may take before it gets what Ctrl-C sends, where none is meant to wait. */
const INTERRUPT_MS = 20_000;

/** Calls of the program in one process, one after the other. Dispose of it at the end. */
export class Many {
  readonly #env: NodeJS.ProcessEnv;
  readonly #cwd: string;
  #child: ChildProcess | undefined;
  #answers: AsyncIterator<string> | undefined;

  readonly #interruptMs: number;

  constructor(env: NodeJS.ProcessEnv, cwd: string, interruptMs = INTERRUPT_MS) {
    this.#interruptMs = interruptMs;
    this.#env = env;
    this.#cwd = cwd;
  }

  async call(argv: readonly string[], env: Record<string, string> = {}): Promise<Ran> {
    this.#child ??= this.#start();
    const { kib: before = 0 } = { kib: this.#lastKib };
    this.#child.stdin!.write(`${JSON.stringify({ argv, env })}\n`);
    const late = setTimeout(() => {
      this.#hung = whereabouts(this.#child!.pid!);
      this.#child!.kill("SIGKILL");
    }, PATIENCE_S * 1000);
    const { value, done } = await this.#answers!.next();
    clearTimeout(late);
    if (done) return this.#died();
    const answer = JSON.parse(value) as Omit<Ran, "signal">;
    this.#lastKib = answer.kib;
    // What earlier calls took is not this one's; a peak that grew is.
    return { ...answer, signal: 0, kib: answer.kib > before ? answer.kib : 0 };
  }

  #lastKib = 0;
  #hung = "";

  #start(): ChildProcess {
    const many = fileURLToPath(new URL("../../test/attacks/many.js", import.meta.url));
    const program = fileURLToPath(new URL("../../dist/cli.cjs", import.meta.url));
    const child = spawn(process.execPath, [many, program, String(this.#interruptMs)], {
      env: this.#env,
      cwd: this.#cwd,
      stdio: ["pipe", "ignore", "pipe", "pipe"],
    });
    child.stdin!.on("error", () => {});
    const lines: Interface = createInterface({ input: child.stdio[3] as Readable });
    this.#answers = lines[Symbol.asyncIterator]();
    this.#stderr = textOf(child.stderr!);
    return child;
  }

  #stderr: Promise<string> = Promise.resolve("");

  async #died(): Promise<Ran> {
    const child = this.#child!;
    this.#child = undefined;
    this.#lastKib = 0;
    if (child.exitCode === null && child.signalCode === null) {
      await new Promise((resolve) => child.once("exit", resolve));
    }
    const signal = child.signalCode === "SIGKILL" ? 9 : child.signalCode === null ? 0 : 6;
    return {
      status: child.exitCode,
      signal,
      stdout: "",
      stderr: this.#hung + (await this.#stderr),
      kib: 0,
      ms: 0,
    };
  }

  dispose(): void {
    this.#child?.kill("SIGKILL");
    this.#child = undefined;
  }
}
