import { spawn } from "node:child_process";
import { constants } from "node:os";
import { KvmIrqError } from "../../abi/error.ts";

/** How long a command that should end is left to do so by itself. */
const GRACE_MS = 500;
/** And how long before it is killed: one that ignores SIGTERM must not keep a trace from its end. */
const KILL_AFTER_MS = 3000;

/** A command of the user's that runs beside this one. */
export interface ChildCommand {
  /** Whether it could be started; if not, `ended` says why. */
  started: boolean;
  /** Its exit status, or 128 and the number of the signal that ended it, as shells have it. */
  ended: Promise<number>;
  /** Ends it, if it does not end by itself: a Ctrl-C at the terminal has reached it too. */
  end(): void;
}

/**
 * Starts a command, without a shell; it has this process's stdin and stderr.
 *
 * @param stdout where its output goes: a descriptor of this process.
 * @returns the command; its `ended` throws KvmIrqError `usage` when it can't be started.
 */
export function startCommand(argv: readonly string[], stdout: 1 | 2): ChildCommand {
  const [file, ...args] = argv as [string, ...string[]];
  const child = spawn(file, args, { stdio: ["inherit", stdout, "inherit"] });
  const ended = new Promise<number>((resolve, reject) => {
    child.once("error", (error: NodeJS.ErrnoException) => reject(cannotStart(file, error)));
    child.once("exit", (status, signal) => resolve(status ?? 128 + constants.signals[signal!]));
  });
  return {
    started: child.pid !== undefined,
    ended,
    end() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const timers = [
        setTimeout(() => child.kill("SIGTERM"), GRACE_MS),
        setTimeout(() => child.kill("SIGKILL"), KILL_AFTER_MS),
      ];
      child.once("exit", () => timers.forEach(clearTimeout));
    },
  };
}

function cannotStart(file: string, error: NodeJS.ErrnoException): KvmIrqError {
  const why = error.code === "ENOENT" ? "there is no such command" : `${error.code ?? error.message}`;
  return new KvmIrqError("usage", `${file} can't be started: ${why}`, {
    hint: "the command is run as it stands, without a shell; for one write `-- sh -c '...'`",
    details: { command: file, errno_name: error.code },
  });
}
