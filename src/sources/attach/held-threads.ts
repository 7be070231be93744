import { ERRNO } from "../../abi/errno.ts";
import type { ThreadStop } from "../../vm/reading.ts";
import { PtraceError, ThreadGoneError } from "./ptrace.ts";
import type { Tracee } from "./tracee.ts";

/** Threads of one process, held under ptrace until {@link release}. */
export class HeldThreads {
  readonly #tracees = new Map<number, Tracee>();
  readonly #stops: ThreadStop[] = [];
  readonly #deadline: () => bigint;
  readonly #isThere: (tid: number) => boolean;

  /**
   * @param deadline gives the `process.hrtime.bigint()` until which a wait that starts now may last.
   * @param isThere whether a thread is still the process's own: asked just before it is traced, by a number that may
   *   be somebody else's by then.
   */
  constructor(deadline: () => bigint, isThere: (tid: number) => boolean) {
    this.#deadline = deadline;
    this.#isThere = isThere;
  }

  /**
   * Stops threads, all of them asked before the first is waited for.
   *
   * @returns those that stopped. Threads that ended meanwhile are left out.
   * @throws PtraceError when one may not be traced, StopTimeoutError.
   */
  stop(tracees: readonly Tracee[]): Tracee[] {
    const there = tracees.filter((tracee) => {
      const seized = this.#isThere(tracee.tid) && unlessGone(() => tracee.seize());
      // At once: should the next one be refused, this one is let go with the others.
      if (seized) this.#tracees.set(tracee.tid, tracee);
      return seized;
    });
    const asked = there.filter((tracee) => this.#keepIf(tracee, () => tracee.interrupt()));
    return asked.filter((tracee) => this.#keepIf(tracee, () => tracee.waitForInterrupt(this.#deadline())));
  }

  /** Whether a thread is held. */
  has(tid: number): boolean {
    return this.#tracees.has(tid);
  }

  /** Lets threads go, all but those given. */
  release(except: ReadonlySet<Tracee> = new Set()): void {
    for (const tracee of this.#tracees.values()) {
      if (!except.has(tracee)) this.#letGo(tracee);
    }
  }

  /** The threads that were held and are not any more. */
  get stops(): readonly ThreadStop[] {
    return this.#stops;
  }

  #keepIf(tracee: Tracee, step: () => void): boolean {
    const there = unlessGone(step);
    if (!there) this.#letGo(tracee);
    return there;
  }

  #letGo(tracee: Tracee): void {
    this.#tracees.delete(tracee.tid);
    this.#stops.push({ tid: tracee.tid, ns: tracee.detach() });
  }
}

/** Runs a step. @returns false when the thread is gone. */
function unlessGone(step: () => void): boolean {
  try {
    step();
    return true;
  } catch (error) {
    if (error instanceof ThreadGoneError) return false;
    if (error instanceof PtraceError && error.errno === ERRNO.ESRCH) return false;
    throw error;
  }
}
