import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, mkdirSync, openSync, readSync, statSync } from "node:fs";
import { createInterface } from "node:readline";
import { buildSync } from "esbuild";
import { listThreads, readStatus } from "../../src/os/proc.ts";
import { has } from "./commands.ts";
import { haveKvm } from "./kvm.ts";

/** Where programs that are made for tests go. */
const CACHE = ".cache/attach";

/** Whether QEMU can be used here with KVM. */
export const haveQemu: boolean = haveKvm && has("qemu-system-x86_64");
/** Where the programs in C were made beforehand, as on the disk of scripts/kernels/disk.js. */
const isPrebuilt = process.env["KVM_IRQ_TEST_PROGRAMS"] === "built";
/** Whether a program in C can be made and attached to: that takes a compiler and root. */
export const mayBuildForRoot: boolean = (isPrebuilt || has("cc")) && process.getuid?.() === 0;
/** Whether the busy VMM can be made and attached to. */
export const haveBusyVmm: boolean = haveKvm && mayBuildForRoot;

function isOutdated(made: string, source: string): boolean {
  return !existsSync(made) || statSync(made).mtimeMs < statSync(source).mtimeMs;
}

/** Bundles a TypeScript program of this folder. @returns the path of what `node` can run. */
export function bundle(name: string): string {
  const outfile = `${CACHE}/${name}.mjs`;
  const entry = `test/support/${name}.ts`;
  buildSync({
    entryPoints: [entry],
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    external: ["ffi-rs", "esbuild"],
  });
  return outfile;
}

/** Compiles a C program of a folder of test/. @returns the path of the program. */
export function compile(name: string, folder = "support"): string {
  mkdirSync(CACHE, { recursive: true });
  const program = `${CACHE}/${name}`;
  const source = `test/${folder}/${name}.c`;
  if (!isPrebuilt && isOutdated(program, source)) {
    // Under another name first: another test may be about to start it.
    execFileSync("cc", ["-O2", "-pthread", "-o", `${program}.${process.pid}`, source]);
    execFileSync("mv", [`${program}.${process.pid}`, program]);
  }
  return program;
}

/** Starts a program and gives its answers line by line. */
export class Conversation {
  readonly child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(child: ChildProcess) {
    this.child = child;
    this.#lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  }

  async nextLine(): Promise<string> {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error("the program ended");
    return value;
  }

  async ask(command: string): Promise<string> {
    this.child.stdin!.write(`${command}\n`);
    return this.nextLine();
  }
}

/** The VMM of healthy-vmm.c, which says there what it takes and answers. */
export class HealthyVmm {
  readonly pid: number;
  readonly #talk: Conversation;

  private constructor(talk: Conversation) {
    this.#talk = talk;
    this.pid = talk.child.pid!;
  }

  static async start(kind: string, vcpus: number, rate: number): Promise<HealthyVmm> {
    const args = [kind, `${vcpus}`, `${rate}`];
    const talk = new Conversation(
      spawn(compile("healthy-vmm"), args, { stdio: ["pipe", "pipe", "inherit"] }),
    );
    await talk.nextLine();
    return new HealthyVmm(talk);
  }

  /** @returns the interrupts that its guest has handled, and "ok", or what went wrong. */
  ask(command: "count" | "pause"): Promise<string> {
    return this.#talk.ask(command);
  }

  /** Ends it. @returns "ok", or what went wrong in it. */
  async end(): Promise<string> {
    const [, state] = /^\d+ (.*)$/.exec(await this.ask("count")) ?? [];
    this.#talk.child.kill("SIGKILL");
    await once(this.#talk.child, "exit");
    return state ?? "it says nothing";
  }
}

/** The VMM of busy-vmm.c, which says there what it answers. */
export class BusyVmm {
  readonly pid: number;
  readonly vmFd: number;
  readonly #counter: number;
  readonly #talk: Conversation;

  private constructor(talk: Conversation, vmFd: number, counter: number) {
    this.#talk = talk;
    this.pid = talk.child.pid!;
    this.vmFd = vmFd;
    this.#counter = counter;
  }

  static async start(...args: string[]): Promise<BusyVmm> {
    const program = compile("busy-vmm");
    const talk = new Conversation(spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] }));
    const [, vmFd, counter] = /^ready vm_fd=(\d+) counter=(\w+)$/.exec(await talk.nextLine()) ?? [];
    return new BusyVmm(talk, Number(vmFd), Number(counter));
  }

  ask(command: "chips" | "status" | "gap" | "pause" | "resume" | "exec"): Promise<string> {
    return this.#talk.ask(command);
  }

  /** Its own view of its chips, as hexadecimal bytes. */
  async chips(): Promise<Record<string, string>> {
    return fieldsOf(await this.ask("chips"));
  }

  /** Rounds done by each thread, and what went wrong. */
  async status(): Promise<Record<string, string>> {
    return fieldsOf(await this.ask("status"));
  }

  /** What vCPU 0 has counted to in guest memory. */
  counter(): number {
    return peek(this.pid, this.#counter);
  }

  /** Ends it. @returns the signal that ended it. */
  end(): Promise<NodeJS.Signals | null> {
    return endOf(this.#talk.child);
  }
}

/** Ends a child. @returns the signal that ended it, now or before. */
export async function endOf(child: ChildProcess): Promise<NodeJS.Signals | null> {
  if (child.exitCode !== null || child.signalCode !== null) return child.signalCode;
  child.kill("SIGKILL");
  const [, signal] = (await once(child, "exit")) as [number | null, NodeJS.Signals | null];
  return signal;
}

/** Reads 32 bits of a process's memory. */
export function peek(pid: number, address: number): number {
  const fd = openSync(`/proc/${pid}/mem`, "r");
  try {
    const bytes = Buffer.alloc(4);
    readSync(fd, bytes, 0, 4, address);
    return bytes.readUInt32LE();
  } finally {
    closeSync(fd);
  }
}

function fieldsOf(line: string): Record<string, string> {
  return Object.fromEntries([...line.matchAll(/(\w+)=([^=]*?)(?= \w+=|\s*$)/g)].map(([, k, v]) => [k, v]));
}

/** What is left of having been attached to: threads that are traced or stopped. None is right. */
export function leftovers(pid: number): string[] {
  const threads = listThreads(pid);
  if (threads === undefined) return [`process ${pid} is gone`];
  return threads.flatMap((tid) => {
    const status = readStatus(tid);
    if (status === undefined) return [];
    const held = status.tracerPid !== 0 || "tT".includes(status.state);
    return held ? [`thread ${tid}: state ${status.state}, traced by ${status.tracerPid}`] : [];
  });
}
