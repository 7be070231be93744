/**
 * Runs before Vitest, in its process: a worker has a minute to start and to end, in wall-clock time that no option
 * makes longer (START_TIMEOUT, STOP_TIMEOUT and WORKER_START_TIMEOUT of its pool), and a start alone takes minutes
 * where the host of the emulation is busy. Timers of a minute and more wait ten times as long.
 */
const { setTimeout: wait } = globalThis;
globalThis.setTimeout = (callback, delay, ...rest) =>
  wait(callback, delay >= 60_000 ? delay * 10 : delay, ...rest);
