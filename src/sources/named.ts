import { existsSync } from "node:fs";
import { KvmIrqError } from "../abi/error.ts";
import type { SourceChoice } from "./open.ts";
import { lookUp } from "./session/registry.ts";
import { isSessionName } from "./session/runtime-dir.ts";

const PROCESS = /^pid:(\d{1,7})(?::(\d{1,7}))?$/;

/**
 * The target that a word stands for, where a command takes several:
 *
 * - `-` is a snapshot on standard input;
 * - `pid:4242` is the VM of a process, `pid:4242:13` the one of its several that descriptor 13 is;
 * - what has a `/` or ends in `.json` is a file;
 * - anything else is the session of that name, or if there is none, the file.
 *
 * @throws KvmIrqError `no-session` when there is neither.
 */
export function sourceNamed(word: string): SourceChoice {
  const [, pid, vmFd] = PROCESS.exec(word) ?? [];
  if (pid !== undefined) {
    return { pid: Number(pid), vmFd: vmFd === undefined ? undefined : Number(vmFd) };
  }
  if (word === "-" || word.includes("/") || word.endsWith(".json")) return { snapshot: word };
  if (isSessionName(word) && lookUp(word) !== undefined) return { session: word };
  if (existsSync(word)) return { snapshot: word };
  throw new KvmIrqError("no-session", `there is no session and no file ${JSON.stringify(word)}`, {
    hint: "`kvm-irq list` shows sessions; a VM of another process is written pid:4242",
  });
}
