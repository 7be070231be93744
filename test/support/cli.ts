import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { testBackend } from "./kvm.ts";

/** The built program, as a user's shell would start it. */
export const PROGRAM = fileURLToPath(new URL("../../bin/kvm-irq.js", import.meta.url));

export interface Result {
  status: number | null;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  input?: string | Buffer;
  env?: Record<string, string>;
}

/**
 * A user with a runtime folder of his own, so that tests never meet each other's sessions. Dispose of him
 * at the end: that ends his sessions and tells what they left behind.
 */
export class User {
  readonly folder = mkdtempSync(join(tmpdir(), "kvm-irq-test-"));
  readonly env: NodeJS.ProcessEnv;
  readonly #started: ChildProcess[] = [];

  constructor(env: Record<string, string> = {}) {
    const { NO_COLOR: _, FORCE_COLOR: __, KVM_IRQ_SESSION: ___, ...rest } = process.env;
    // Reading certificates slows every start of node.
    const { NODE_EXTRA_CA_CERTS: ____, ...inherited } = rest;
    this.env = { ...inherited, XDG_RUNTIME_DIR: this.folder, KVM_IRQ_BACKEND: testBackend, ...env };
  }

  /** Runs the program to its end. */
  run(args: readonly string[], { input, env = {} }: RunOptions = {}): Result {
    const { status, stdout, stderr } = spawnSync(process.execPath, [PROGRAM, ...args], {
      env: { ...this.env, ...env },
      input: input ?? "",
      maxBuffer: 64 * 1024 * 1024,
    });
    return { status, stdout: stdout.toString("utf8"), stderr: stderr.toString("utf8") };
  }

  /** Runs the program and insists that it succeeds. @returns its stdout. */
  ok(args: readonly string[], options: RunOptions = {}): string {
    const { status, stdout, stderr } = this.run(args, options);
    if (status !== 0) throw new Error(`kvm-irq ${args.join(" ")}: status ${status}\n${stderr}`);
    return stdout;
  }

  /** Like {@link ok}, with `--json`, parsed. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into what came out, whatever it is
  json<T = any>(args: readonly string[], options: RunOptions = {}): T {
    return JSON.parse(this.ok([...args, "--json"], options)) as T;
  }

  /** Starts the program and leaves it running, at most until {@link dispose}. */
  start(args: readonly string[], env: Record<string, string> = {}): ChildProcess {
    const child = spawn(process.execPath, [PROGRAM, ...args], { env: { ...this.env, ...env } });
    this.#started.push(child);
    return child;
  }

  /** The program in a child process, awaited. */
  async runAsync(args: readonly string[]): Promise<Result> {
    return finished(this.start(args));
  }

  /** Everything in the runtime folder but what is kept for later: this kernel's types. */
  leftovers(): string[] {
    return readdirSync(this.folder, { recursive: true })
      .map(String)
      .filter((path) => path !== "kvm-irq" && path !== "kvm-irq/.kernel-types");
  }

  /**
   * Ends every session, and what a test that failed left running. @returns what was left in the runtime folder
   * although it should not be.
   */
  dispose(): string[] {
    for (const child of this.#started) {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
    }
    this.run(["destroy", "--all"]);
    const left = this.leftovers();
    rmSync(this.folder, { recursive: true, force: true });
    return left;
  }
}

/** Waits for a process to end. */
export async function finished(child: ChildProcess): Promise<Result> {
  let stdout = "";
  let stderr = "";
  child.stdout?.on("data", (chunk) => {
    stdout += chunk;
  });
  child.stderr?.on("data", (chunk) => {
    stderr += chunk;
  });
  const status = await new Promise<number | null>((resolve) => child.once("close", resolve));
  return { status, stdout, stderr };
}

/** Waits until a condition holds. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  ms = 30_000,
): Promise<void> {
  const end = Date.now() + ms;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`waited ${ms} ms in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Whether the program has connected to a holder: it then has a socket beyond those of its three streams. */
export function isConnected({ pid }: ChildProcess): boolean {
  // Before its exec(2) the child is a copy of this process, with sockets of its own.
  if (!readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(PROGRAM)) return false;
  return descriptorsOf(pid!).filter((target) => target.startsWith("socket:")).length > 3;
}

/** What the descriptors of a process are, as /proc links to it. Those that it closes just then are left out. */
export function descriptorsOf(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/${pid}/fd/${fd}`)];
    } catch {
      return [];
    }
  });
}
