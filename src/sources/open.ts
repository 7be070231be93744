import type { VmAddress } from "../abi/advice.ts";
import { KvmIrqError } from "../abi/error.ts";
import type { RawLayout } from "../vm/raw.ts";
import type { Source } from "../vm/source.ts";

/** What names a target on the command line; at most one of the first three. */
export interface SourceChoice {
  session?: string | undefined;
  pid?: number | undefined;
  snapshot?: string | undefined;
  /** The VM among several of one process. */
  vmFd?: number | undefined;
  /** The layout of raw bytes in a snapshot file. */
  layout?: RawLayout | undefined;
}

/**
 * Throws unless a choice is of one target.
 *
 * @throws KvmIrqError `usage` for two at once, and for options that go with another kind of target.
 */
export function checkChoice({ session, pid, snapshot, vmFd }: SourceChoice): void {
  const named = [
    session !== undefined && "--session",
    pid !== undefined && "--pid",
    snapshot !== undefined && "--snapshot",
  ];
  const [one, other] = named.filter(Boolean);
  if (other !== undefined) throw new KvmIrqError("usage", `${one} and ${other} name two targets; give one`);
  if (vmFd !== undefined && pid === undefined) throw new KvmIrqError("usage", "--vm-fd goes with --pid");
}

/**
 * Opens the target that a choice names, which {@link checkChoice} has seen; without any, the session
 * `KVM_IRQ_SESSION` or `default`.
 *
 * @param signal aborted when the user gives up.
 * @throws KvmIrqError whatever keeps the target from being opened.
 */
export async function openSource(choice: SourceChoice, signal?: AbortSignal): Promise<Source> {
  const { session, pid, snapshot, vmFd, layout } = choice;
  if (snapshot !== undefined) {
    const { FileSource } = await import("./file/source.ts");
    return new FileSource(snapshot, layout);
  }
  if (pid !== undefined) {
    const { openProcess } = await import("./attach/source.ts");
    return openProcess({ pid, vmFd });
  }
  const { SessionSource } = await import("./session/source.ts");
  return SessionSource.open(session ?? defaultSession(), signal);
}

/** How a command line names the same target again, whatever `KVM_IRQ_SESSION` is there. */
export function addressOf(choice: SourceChoice, env = process.env): VmAddress {
  const { session, pid, snapshot, vmFd } = choice;
  if (snapshot !== undefined) return { options: ["--snapshot", snapshot], readOnly: true };
  if (pid !== undefined) {
    const which = vmFd === undefined ? [] : ["--vm-fd", `${vmFd}`];
    return { options: ["--pid", `${pid}`, ...which], confirm: true };
  }
  const name = session ?? defaultSession(env);
  return { options: name === defaultSession({}) && defaultSession(env) === name ? [] : ["-s", name] };
}

/** The session meant when none is named: `KVM_IRQ_SESSION`, else `default`. */
export function defaultSession(env = process.env): string {
  return env["KVM_IRQ_SESSION"] || "default";
}
