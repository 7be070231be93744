import { fstatSync, statSync } from "node:fs";

/** Signals that would end or stop this process at once, wherever it is, as long as nobody listens. */
const GUARDED = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGTSTP"] as const;

/**
 * Holds signals back until this process is between two pieces of synchronous work. Node runs a signal's
 * listener from the event loop, so listening is all it takes; then the signal does what it would have done.
 * One that somebody else listens for is left to them.
 *
 * @returns a function that ends the guard.
 */
export function guardSignals(): () => void {
  const listeners = GUARDED.map((signal) => {
    const listener = () => {
      if (process.listenerCount(signal) > 1) return;
      process.off(signal, listener);
      process.kill(process.pid, signal);
      // Whoever is still here was stopped by SIGTSTP and has been continued.
      process.on(signal, listener);
    };
    process.on(signal, listener);
    return () => process.off(signal, listener);
  });
  return () => {
    for (const end of listeners) end();
  };
}

/** Signals that commands listen for to end early and cleanly. */
const ENDING = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** The major number of /dev/null, /dev/zero and their like (the kernel's devices.txt), which keep nobody waiting. */
const MEMORY_DEVICES = 1;

/**
 * Opens or reads a file, without a listener for signals where that may wait for long without the event loop, as for
 * a terminal or the other end of a pipe. A listener would run only after it; without one these signals end this
 * process, as they do where nobody listens. Nothing that has to be cleaned up may be open meanwhile.
 *
 * A signal that has come and whose listener has not run yet is lost when the listener is taken away, so none is
 * where nothing waits.
 *
 * @param file the path, or the descriptor.
 */
export function interruptibly<T>(file: string | number, action: () => T): T {
  if (!mayWait(file)) return action();
  const listeners = ENDING.flatMap((signal) =>
    process.listeners(signal).map((listener) => ({ signal, listener })),
  );
  for (const { signal, listener } of listeners) process.off(signal, listener);
  try {
    return action();
  } finally {
    for (const { signal, listener } of listeners) process.on(signal, listener);
  }
}

function mayWait(file: string | number): boolean {
  const stats = typeof file === "number" ? fstatSync(file) : statSync(file, { throwIfNoEntry: false });
  if (stats === undefined || stats.isFile()) return false;
  return !stats.isCharacterDevice() || ((stats.rdev >> 8) & 0xfff) !== MEMORY_DEVICES;
}
