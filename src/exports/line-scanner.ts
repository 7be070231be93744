import { Memo } from "../abi/memo.ts";
import type { TraceEvent } from "../tracefs/event.ts";

type Loose = Record<string, unknown>;
/** Whom an event happened to. */
type Who = Pick<TraceEvent, "pid" | "comm" | "process" | "context">;
/** What happened. */
type What = Pick<TraceEvent, "event" | "args">;
/** That a piece is neither. */
const NONE = "none";

const [BEGIN, CPU, WHO, WHAT] = ['{"time":', ',"cpu":', ',"pid":', ',"event":"'] as const;
/** A number of so many digits is a safe integer. */
const MOST_DIGITS = 15;
/** Pieces of more letters are not remembered. */
const LONGEST_PIECE = 512;
const [ZERO, NINE] = [48, 57];

/**
 * Reads the lines of events as `eventLine` writes them. What tells them apart is mostly the time: who and what of a
 * line most likely were in one before, and are then not parsed again. Events of the same fields share one `args`.
 */
export class LineScanner {
  readonly #rests = new Memo((piece: string) => this.#parts(piece), copyOf);
  readonly #whos = new Memo((piece: string) => parsed(`{${piece}}`, whoIn), copyOf);
  readonly #whats = new Memo((piece: string) => parsed(`{${piece}`, whatIn), copyOf);
  /** Where {@link LineScanner.#number} stopped. */
  #at = 0;

  /** @returns what JSON.parse makes of the line; `undefined` for one that it has to look at. */
  event(line: string): TraceEvent | undefined {
    if (!line.startsWith(BEGIN)) return undefined;
    const time = this.#number(line, BEGIN.length);
    if (!line.startsWith(CPU, this.#at)) return undefined;
    const cpu = this.#number(line, this.#at + CPU.length);
    const start = this.#at;
    if (time === -1 || cpu === -1 || !line.startsWith(WHO, start)) return undefined;
    if (line.length - start > LONGEST_PIECE) return undefined;
    const rest = line.slice(start + 1);
    const read = this.#rests.of(rest, rest);
    if (read === NONE) return undefined;
    const { pid, comm, process, context, event, args } = read;
    return context === undefined
      ? { time, cpu, pid, comm, process, event, args }
      : { time, cpu, pid, comm, process, context, event, args };
  }

  /** Who and what, which are fewer than what both together make. */
  #parts(rest: string): (Who & What) | typeof NONE {
    // Inside a text there is no quotation mark without a backslash, so that this ends who it was.
    const end = rest.indexOf(WHAT);
    if (end === -1) return NONE;
    const [whoPiece, whatPiece] = [rest.slice(0, end), rest.slice(end + 1)];
    const who = this.#whos.of(whoPiece, whoPiece);
    const what = this.#whats.of(whatPiece, whatPiece);
    return who === NONE || what === NONE ? NONE : { ...who, ...what };
  }

  /** A number as JSON has it, of digits alone; -1 for another. */
  #number(line: string, from: number): number {
    let [value, at] = [0, from];
    for (let code = line.charCodeAt(at); code >= ZERO && code <= NINE; code = line.charCodeAt(++at)) {
      value = value * 10 + code - ZERO;
    }
    this.#at = at;
    const isPlain =
      at > from && at - from <= MOST_DIGITS && (line.charCodeAt(from) !== ZERO || at === from + 1);
    return isPlain ? value : -1;
  }
}

/** A part of a line holds all of what it was cut from in memory. */
function copyOf(piece: string): string {
  return Buffer.from(piece).toString();
}

function parsed<T>(text: string, read: (value: Loose, fields: number) => T | typeof NONE): T | typeof NONE {
  try {
    const value = JSON.parse(text) as Loose;
    return read(value, Object.keys(value).length);
  } catch {
    return NONE;
  }
}

function whoIn(value: Loose, fields: number): Who | typeof NONE {
  return isWho(value) && fields === (value.context === undefined ? 3 : 4) ? value : NONE;
}

function whatIn(value: Loose, fields: number): What | typeof NONE {
  return isWhat(value) && fields === 2 ? value : NONE;
}

const CONTEXTS: readonly unknown[] = [undefined, "hardirq", "softirq", "nmi"];

/** Whether what says whom an event happened to is as it is saved. */
export function isWho<T extends Loose>(value: T): value is T & Who {
  const { pid, comm, process, context } = value;
  return (
    isCount(pid) &&
    typeof comm === "string" &&
    (process === null || isCount(process)) &&
    CONTEXTS.includes(context)
  );
}

/** Whether what says what happened is as it is saved, and of arguments that are no lists. */
export function isWhat<T extends Loose>(value: T): value is T & What {
  const { event, args } = value;
  if (typeof event !== "string" || typeof args !== "object" || args === null || Array.isArray(args))
    return false;
  for (const name in args) if (!isArg((args as Loose)[name])) return false;
  return true;
}

/** Whether a value is a number of things. */
export function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isArg(value: unknown): boolean {
  return Number.isSafeInteger(value) || typeof value === "boolean" || typeof value === "string";
}
