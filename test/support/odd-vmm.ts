import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { compile } from "./attach.ts";

/** A VMM of odd-vmm.c, which says there what shapes there are. */
export class OddVmm {
  readonly #child: ChildProcess;
  /** The process that has the descriptors, which need not be the one that was started. */
  readonly pid: number;
  readonly fds: readonly number[];

  private constructor(child: ChildProcess, pid: number, fds: readonly number[]) {
    this.#child = child;
    this.pid = pid;
    this.fds = fds;
  }

  /** The process that was started. */
  get starter(): number {
    return this.#child.pid!;
  }

  static async start(...args: string[]): Promise<OddVmm> {
    return OddVmm.startBy([], ...args);
  }

  /** @param starter a command that runs what is behind it, such as `setpriv`. */
  static async startBy(starter: readonly string[], ...args: string[]): Promise<OddVmm> {
    const [program, ...rest] = [...starter, compile("odd-vmm"), ...args];
    const child = spawn(program!, rest, { stdio: ["pipe", "pipe", "inherit"] });
    const [line] = (await once(createInterface({ input: child.stdout! }), "line")) as [string];
    const [, pid, fds] = /^ready pid=(\d+) fds=([\d,]+)$/.exec(line) ?? [];
    return new OddVmm(child, Number(pid), fds!.split(",").map(Number));
  }

  /** Ends it, and what it started. */
  async end(): Promise<void> {
    const ended = this.#child.exitCode === null ? once(this.#child, "exit") : undefined;
    this.#child.stdin!.end();
    await ended;
  }
}
