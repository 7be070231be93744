/**
 * What a guest says on its second serial port: lines that begin with MARK are the runner's own, the
 * others are a payload's output, which is TAP.
 */

/** Begins a line that is not a payload's. */
export const MARK = "@@kvm-irq";

const MARKED = new RegExp(`${MARK} (\\w+)(?: (\\S+))?(?: (\\d+))?$`);
/** A test point of TAP; a skipped one says so behind `#`. */
const TEST_POINT = /^(not )?ok\b[^#]*(# SKIP)?/i;

/**
 * One payload's outcome.
 *
 * @typedef {{ name: string, status: number | undefined, passed: number, failed: number,
 *   skipped: number, seconds: number, output: string[] }} PayloadResult
 *   `status` is its exit status, undefined while it has not ended.
 */

/** Reads a guest's report as it comes in. */
export class Report {
  /** @type {PayloadResult[]} */
  results = [];
  /** Seconds from the start of the guest until it was ready to run something. */
  bootSeconds = undefined;
  /** Whether the guest said that it ran every payload. */
  done = false;
  #current = undefined;
  #since;

  /** @param {number} now seconds, on any clock, as are the others'. */
  constructor(now) {
    this.#since = now;
  }

  /** Takes one line, without its end. */
  read(line, now) {
    const marked = MARKED.exec(line);
    if (marked === null) this.#readOutput(line);
    else this.#readMark(marked, now);
  }

  #readMark([, word, name, status], now) {
    switch (word) {
      case "ready":
        this.bootSeconds = now - this.#since;
        break;
      case "begin":
        this.#since = now;
        this.#current = { name, status: undefined, passed: 0, failed: 0, skipped: 0, seconds: 0, output: [] };
        this.results.push(this.#current);
        break;
      case "end":
        this.#current.seconds = now - this.#since;
        this.#current.status = Number(status);
        this.#current = undefined;
        break;
      case "done":
        this.done = true;
    }
  }

  #readOutput(line) {
    if (this.#current === undefined) return;
    this.#current.output.push(line);
    const point = TEST_POINT.exec(line);
    if (point === null) return;
    const [, not, skip] = point;
    this.#current[skip ? "skipped" : not ? "failed" : "passed"]++;
  }
}

/** A payload's output without the tests that passed or were skipped. */
export function withoutPassed(output) {
  return output.filter((line) => !TEST_POINT.test(line) || /^not/i.test(line));
}
