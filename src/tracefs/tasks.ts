import { readdirSync } from "node:fs";
import { join } from "node:path";
import { KvmIrqError } from "../abi/error.ts";
import { readText } from "../os/files.ts";

/** Who a thread is. */
export interface Task {
  comm: string;
  /** The process it belongs to or works for, `null` for a thread of the kernel's own. */
  process: number | null;
}

/**
 * Threads of the kernel that work for one process carry its number in their name: `kvm-pit/PID` of the
 * in-kernel timer, `vhost-PID` of a device.
 */
const WORKER_OF = /^(?:kvm-pit\/|vhost-)(?<pid>\d+)$/;

/**
 * Threads of the kernel that work for every process: those of work queues, which raise the lines of irqfds,
 * and the one that starts them.
 */
const SHARED_WORKER = /^(?:kworker\/|kthreadd$)/;

/**
 * Who a thread is, from its `/proc/PID/status` and `/proc/PID/stat` (proc_pid_status(5), proc_pid_stat(5)).
 */
export function parseTask(status: string, stat: string): Task {
  const value = (name: string) => new RegExp(`^${name}:\\s*(.*)$`, "m").exec(status)?.[1];
  const comm = value("Name") ?? "?";
  const worker = WORKER_OF.exec(comm)?.groups?.["pid"];
  if (worker !== undefined) return { comm, process: Number(worker) };
  // The name stands in parentheses and may hold anything, so fields are counted from behind it.
  const flags = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[6]);
  return { comm, process: (flags & PF_KTHREAD) !== 0 ? null : Number(value("Tgid")) };
}

/** `PF_KTHREAD` among the flags that proc_pid_stat(5) shows: a thread of the kernel's own. */
const PF_KTHREAD = 0x0020_0000;

/**
 * Names threads by number. Each is asked for once, when it is first met, while it most likely still lives;
 * those that are gone by then tracefs remembers (`saved_cmdlines`, `saved_tgids`).
 */
export class TaskNames {
  readonly #known = new Map<number, Task>([[0, { comm: "<idle>", process: null }]]);
  readonly #tracefs: string;

  /** @param tracefs where tracefs is. */
  constructor(tracefs: string) {
    this.#tracefs = tracefs;
  }

  get(pid: number): Task {
    const known = this.#known.get(pid);
    if (known !== undefined) return known;
    const task = this.#look(pid);
    this.#known.set(pid, task);
    return task;
  }

  #look(pid: number): Task {
    const status = readText(`/proc/${pid}/status`);
    const stat = readText(`/proc/${pid}/stat`);
    if (status !== undefined && stat !== undefined) return parseTask(status, stat);
    const process = Number(this.#saved("saved_tgids", pid) ?? 0);
    return {
      comm: this.#saved("saved_cmdlines", pid) ?? `thread ${pid}`,
      process: process === 0 ? null : process,
    };
  }

  #saved(file: string, pid: number): string | undefined {
    const text = readText(join(this.#tracefs, file));
    return text === undefined ? undefined : new RegExp(`^${pid} (.*)$`, "m").exec(text)?.[1];
  }
}

/**
 * The threads whose events may be a process's own: its threads, and those of the kernel that work for it or
 * for every process.
 *
 * @throws KvmIrqError `no-process` when there is none of that number.
 */
export function threadsOf(pid: number): number[] {
  let own: number[];
  try {
    own = readdirSync(`/proc/${pid}/task`).map(Number);
  } catch {
    throw new KvmIrqError("no-process", `there is no process ${pid}`, {
      hint: "`kvm-irq list` shows the processes that have VMs",
    });
  }
  return [...own, ...workersOf(pid)];
}

function workersOf(pid: number): number[] {
  return readdirSync("/proc").flatMap((entry) => {
    if (!/^\d+$/.test(entry)) return [];
    const comm = readText(`/proc/${entry}/comm`)?.trimEnd() ?? "";
    const isOurs = WORKER_OF.exec(comm)?.groups?.["pid"] === String(pid);
    return isOurs || SHARED_WORKER.test(comm) ? [Number(entry)] : [];
  });
}
