import { KvmIrqError } from "../../abi/error.ts";
import type { Events, Scope } from "../../arch/arch.ts";
import type { Context } from "../../cli/command.ts";
import { isAlive } from "../../os/alive.ts";
import { onlyACopy } from "../../sources/attach/process-errors.ts";
import { findVmsOf, processNamed } from "../../sources/attach/processes.ts";
import { hasNoVmOfItsOwn, otherHolders } from "../../sources/attach/vm-owners.ts";
import { time } from "../../text/duration.ts";
import { count } from "../../text/format.ts";
import type { TraceHeader, TraceSink, TraceSummary } from "../../tracefs/event.ts";
import type { RecordOptions } from "../../tracefs/record.ts";
import type { Source } from "../../vm/source.ts";
import { type ChildCommand, startCommand } from "./child-command.ts";
import type { TraceOptions } from "./trace-options.ts";

/** Whose events to record: those of some processes, or everybody's. */
interface Subject {
  label: string;
  pids?: readonly number[];
}

/** How often to look whether the traced process is still there. */
const LOOK_EVERY_MS = 100;

/** What a command set off may come to its end a little later than the command. */
const SETTLE_MS = 50;

/**
 * Records into a sink: for a time, around a command, or until the signal or the end of the traced process.
 *
 * @param command none means no command.
 * @param commandStdout where the command's output goes. @param onBatch called after each batch of events.
 * @returns the exit status: the command's, 130 when interrupted, else 0.
 * @throws KvmIrqError `trace-unavailable`, `no-process`, `no-session`; `usage` for a command that can't be
 *   started. The sink is then not to be used.
 */
export async function recordInto(
  sink: TraceSink,
  events: Events,
  options: TraceOptions,
  {
    command,
    commandStdout,
    onBatch,
  }: { command: readonly string[]; commandStdout: 1 | 2; onBatch: () => Promise<void> },
  context: Context,
): Promise<number> {
  const subject = await subjectOf(options, context);
  const end = new AbortController();
  const stop = () => end.abort();
  context.signal.addEventListener("abort", stop);
  // A signal that came before there was a listener fires no more.
  if (context.signal.aborted) stop();
  const watcher = command.length === 0 ? watchEnd(subject, stop, context) : undefined;
  let child: ChildCommand | undefined;
  let begun = false;
  const onStart = (header: TraceHeader) => {
    if (command.length > 0) {
      child = startCommand(command, commandStdout);
      child.ended.then(() => setTimeout(stop, SETTLE_MS), stop);
      if (!child.started) return;
    }
    sink.begin(header);
    begun = true;
    if (child === undefined) context.notice(startNotice(subject, options.for));
  };
  try {
    const summary = await events.record(
      { ...recordOptions(subject, options), signal: end.signal, hurry: context.signal, onStart, onBatch },
      (event) => {
        if (begun) sink.push(event);
      },
    );
    if (context.signal.aborted) child?.end();
    const status = await child?.ended;
    await sink.end(summary);
    if (summary.lost > 0) context.notice(lostNotice(summary));
    return context.signal.aborted ? 130 : (status ?? 0);
  } catch (error) {
    child?.end();
    throw error;
  } finally {
    clearInterval(watcher);
    context.signal.removeEventListener("abort", stop);
  }
}

function recordOptions({ pids }: Subject, options: TraceOptions): RecordOptions & { scope: Scope } {
  return {
    ...(pids === undefined ? {} : { pids }),
    scope: { gsis: options.gsi ?? [], vectors: options.vector ?? [] },
    ...(options.for === undefined ? {} : { durationMs: options.for }),
    ...(options.bufferKb === undefined ? {} : { bufferKb: options.bufferKb }),
  };
}

async function subjectOf({ all }: TraceOptions, context: Context): Promise<Subject> {
  const { pids } = context.globals;
  if (all) return { label: "every VM" };
  if (pids !== undefined) {
    for (const pid of pids) {
      // Of a thread's id, or a pid of another namespace, nothing would ever be recorded.
      if (isAlive(pid)) processNamed(pid);
      const [vm] = isAlive(pid) ? await findVmsOf(pid) : [];
      if (vm !== undefined && hasNoVmOfItsOwn(pid) && otherHolders(pid, vm.vm_fd).length > 0) {
        throw onlyACopy(pid, vm.vm_fd);
      }
      if (vm === undefined && isAlive(pid)) {
        context.notice(`process ${pid} has no VM: there is nothing to record until it makes one`);
      }
    }
    return { label: pids.length === 1 ? `pid ${pids[0]}` : `pids ${pids.join(", ")}`, pids };
  }
  const { source, label } = (await sessionOf(context)).identity;
  if (source.kind === "session" && source.backend === "kvm") {
    return { label, ...(source.pid === undefined ? {} : { pids: [source.pid] }) };
  }
  throw new KvmIrqError(
    "unsupported",
    `${label} runs the software model, which the kernel knows nothing of`,
    { hint: "`kvm-irq create --backend kvm` makes one that can be traced" },
  );
}

async function sessionOf(context: Context): Promise<Source> {
  try {
    return await context.source();
  } catch (error) {
    if (!(error instanceof KvmIrqError) || error.code !== "no-session") throw error;
    throw new KvmIrqError(error.code, error.message, {
      hint: "`kvm-irq create` makes one; `kvm-irq trace --all` traces every VM on this host, --pid that of a process",
      details: error.details,
    });
  }
}

/** Events of processes that have ended will not come. */
function watchEnd({ pids, label }: Subject, stop: () => void, context: Context): NodeJS.Timeout | undefined {
  if (pids === undefined) return undefined;
  const look = setInterval(() => {
    if (pids.some(isAlive)) return;
    clearInterval(look);
    context.notice(`${label} ${pids.length === 1 ? "has" : "have"} ended`);
    stop();
  }, LOOK_EVERY_MS);
  return look;
}

function startNotice({ label }: Subject, forMs: number | undefined): string {
  return `tracing ${label}${forMs === undefined ? "; Ctrl-C ends it" : ` for ${time(forMs)}`}`;
}

function lostNotice({ lost }: TraceSummary): string {
  return `${count(lost, "event")} lost: they came faster than they were read; a larger --buffer-kb helps`;
}
