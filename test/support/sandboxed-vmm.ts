import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { openProcess } from "../../src/sources/attach/source.ts";
import type { ChipId } from "../../src/vm/chip.ts";
import { Conversation, compile, endOf, leftovers, peek } from "./attach.ts";
import { until } from "./cli.ts";

/** Ways to wait of sandboxed-vmm.c that end by themselves after some time. */
const TIMED = [
  "poll-timed",
  "ppoll-timed",
  "select-timed",
  "futex-timed",
  "futex-absolute",
  "nanosleep",
  "clock-nanosleep",
  "clock-nanosleep-absolute",
] as const;
/** Those that last until there is something on standard input, or a signal; futex is never woken. */
const LASTING = ["poll", "ppoll", "epoll", "select", "pselect", "read", "signalfd", "futex"] as const;

export const WAYS_TO_WAIT = [...TIMED, ...LASTING] as const;
export type WayToWait = (typeof WAYS_TO_WAIT)[number];

/** The VMM of sandboxed-vmm.c, which says there what it does. */
export class SandboxedVmm {
  readonly pid: number;
  readonly vmFd: number;
  readonly child: ChildProcess;
  /** Addresses of its counters and functions. */
  readonly at: Readonly<Record<string, number>>;

  private constructor(child: ChildProcess, fields: Record<string, number>) {
    this.child = child;
    this.pid = child.pid!;
    this.vmFd = fields["vm_fd"]!;
    this.at = fields;
  }

  static async start(...args: string[]): Promise<SandboxedVmm> {
    const program = compile("sandboxed-vmm");
    const talk = new Conversation(spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] }));
    const fields = [...(await talk.nextLine()).matchAll(/(\w+)=(\w+)/g)];
    return new SandboxedVmm(
      talk.child,
      Object.fromEntries(fields.map(([, name, value]) => [name!, Number(value)])),
    );
  }

  read(counter: "rounds" | "trouble" | "escapes"): number {
    return peek(this.pid, this.at[counter]!);
  }

  /** Whether a thread sleeps in a system call of this number. */
  async sleepsIn(call: number): Promise<void> {
    const what = () => readFileSync(`/proc/${this.pid}/syscall`, "utf8");
    await until(`its main thread sleeps in system call ${call}`, () => what().startsWith(`${call} `));
  }

  /** What has become of it; nothing is right. */
  async harm(way: WayToWait): Promise<string[]> {
    if (this.child.exitCode !== null || this.child.signalCode !== null || this.child.pid === undefined) {
      return [`it was ended by ${this.child.signalCode ?? this.child.exitCode}`];
    }
    const problems = leftovers(this.pid);
    if (problems.length > 0) return problems;
    const rounds = this.read("rounds");
    if (way === "signalfd") process.kill(this.pid, "SIGUSR1");
    else if (!(TIMED as readonly string[]).includes(way)) this.child.stdin!.write("x");
    if (way === "futex") await this.sleepsIn(202);
    else await until("its main thread goes on", () => this.read("rounds") > rounds);
    const trouble = this.read("trouble");
    return trouble === 0 ? [] : [`a wait ended wrongly: ${trouble}`];
  }

  end(): Promise<NodeJS.Signals | null> {
    return endOf(this.child);
  }
}

/** A row of the matrix: a way to wait, what is read, and what went wrong. */
export interface FilterRow {
  way: string;
  chips: readonly ChipId[];
  problems: string[];
}

/**
 * Attaches to VMMs whose filters allow just one way to wait each: through a thread that waits so, through the
 * vCPU's in KVM_RUN, and with all threads stopped when nobody is in KVM_RUN.
 *
 * @param attaches how many of each.
 */
export async function attachToFiltered(way: WayToWait, attaches: number): Promise<FilterRow[]> {
  const rows: FilterRow[] = [];
  for (const [args, chips] of [
    [[], ["pic1"]],
    [[], ["lapic[0]"]],
    [["parked"], ["lapic[0]"]],
  ] as [string[], ChipId[]][]) {
    const vmm = await SandboxedVmm.start(way, ...args);
    const problems: string[] = [];
    try {
      const target = await openProcess({ pid: vmm.pid });
      for (let n = 0; n < attaches; n++) {
        const [image] = (await target.read({ chips })).images;
        if (chips[0] === "pic1" && image!.bytes[2] !== 0xa5) problems.push("pic1 was misread");
      }
      await target.close();
      problems.push(...(await vmm.harm(way)));
    } catch (error) {
      problems.push(String(error), ...(await vmm.harm(way).catch((harm) => [String(harm)])));
    }
    await vmm.end();
    rows.push({ way: [way, ...args].join(" "), chips, problems });
  }
  return rows;
}

/** Attaches to a VMM whose threads try a forbidden call all the time. @returns how often, and how often it went through. */
export async function escapesOf(attaches: number): Promise<{ attempts: number; escapes: number }> {
  const vmm = await SandboxedVmm.start("forbidden");
  const target = await openProcess({ pid: vmm.pid });
  for (let n = 0; n < attaches; n++) await target.read({ chips: ["pic1"] });
  await target.close();
  const result = { attempts: vmm.read("rounds"), escapes: vmm.read("escapes") };
  await vmm.end();
  return result;
}
