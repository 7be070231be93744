import { createReadStream } from "node:fs";
import { KvmIrqError } from "../../abi/error.ts";
import { canReadAgain, readInput } from "../../os/input.ts";

/** A line of a script that has something to do, or several that backslashes join. */
export interface ScriptLine {
  /** The first line's number. */
  number: number;
  text: string;
  words: string[];
}

/**
 * Cuts lines into words as a shell does: blanks separate, `'...'` and `"..."` and `\` quote, `#` at the
 * start of a word begins a comment. Nothing is expanded, and `&`, `<` and `>` are letters like any other.
 */
class WordCutter {
  readonly words: string[] = [];
  #word: string | undefined;
  /** Whether a `"` is open, behind the backslash that joins two lines. */
  #quoted = false;

  /**
   * Takes a line, or the next part of one.
   *
   * @returns whether it is complete; else it ends in a backslash, which joins it with the next.
   * @throws KvmIrqError `bad-input` for a quote that is not closed.
   */
  take(line: string): boolean {
    let at = 0;
    while (at < line.length || this.#quoted) {
      const letter = line[at]!;
      if (this.#quoted) {
        at = this.#takeQuoted(line, at, '"');
        if (this.#quoted) return false;
      } else if (letter === "#" && this.#word === undefined) break;
      else if (letter === " " || letter === "\t" || letter === "\r") {
        this.#endWord();
        at++;
      } else if (letter === "'" || letter === '"') {
        this.#word ??= "";
        at = this.#takeQuoted(line, at + 1, letter);
        if (this.#quoted) return false;
      } else if (letter === "\\") {
        if (at + 1 === line.length) return false;
        this.#word = (this.#word ?? "") + line[at + 1];
        at += 2;
      } else {
        this.#word = (this.#word ?? "") + letter;
        at++;
      }
    }
    this.#endWord();
    return true;
  }

  #endWord(): void {
    if (this.#word !== undefined) this.words.push(this.#word);
    this.#word = undefined;
  }

  /**
   * In double quotes a backslash quotes the quote and itself, and joins lines; in single quotes nothing is
   * special.
   *
   * @returns where the quote ends; it stays open where the line ends in a backslash that joins it.
   */
  #takeQuoted(line: string, start: number, quote: string): number {
    for (let at = start; at < line.length; at++) {
      if (line[at] === quote) {
        this.#quoted = false;
        return at + 1;
      }
      if (quote === '"' && line[at] === "\\") {
        if (at + 1 === line.length) {
          this.#quoted = true;
          return at;
        }
        if (/["\\]/.test(line[at + 1]!)) at++;
      }
      this.#word += line[at]!;
    }
    throw new KvmIrqError("bad-input", `a quote (${quote}) is not closed`);
  }
}

/** A script, which can be read as often as need be. */
export interface Script {
  /** How messages name it. */
  label: string;
  lines(): AsyncIterable<ScriptLine>;
}

/**
 * Opens a script.
 *
 * @param path a file's path, whose lines are read one by one, so that a long script takes no memory; or `-`
 *   for standard input. That, like any other pipe, is read once and kept.
 * @throws KvmIrqError `no-file`.
 */
export function openScript(path: string): Script {
  const label = path === "-" ? "standard input" : path;
  if (path !== "-" && canReadAgain(path)) {
    return { label, lines: () => wordLines(createReadStream(path, { encoding: "utf8" }), label) };
  }
  const text = readInput(path).toString("utf8");
  return { label, lines: () => wordLines([text], label) };
}

/** A loop written out has few different lines; of these, so many are taken apart once. */
const REMEMBERED_LINES = 1000;
/** Letters that a command can have, its joined lines together. */
const LONGEST_LINE = 2 ** 20;

/** Takes a script apart as it comes in, in pieces that end anywhere. */
async function* wordLines(
  pieces: AsyncIterable<string> | string[],
  label: string,
): AsyncGenerator<ScriptLine> {
  const joiner = new LineJoiner(label);
  let rest: string | undefined;
  for await (const piece of pieces) {
    // A stream, unlike what is read whole, still has the byte order mark.
    const lines = rest === undefined ? piece.replace(/^\ufeff/, "").split("\n") : (rest + piece).split("\n");
    rest = lines.pop()!;
    for (const line of lines) {
      const complete = joiner.take(line);
      if (complete !== undefined) yield complete;
    }
    joiner.refuseLonger(rest.length);
  }
  const last = rest ? joiner.take(rest) : undefined;
  if (last !== undefined) yield last;
  joiner.end();
}

/** Lines that backslashes have joined so far. */
interface Begun {
  number: number;
  cutter: WordCutter;
  /** Their text, without the backslashes. */
  parts: string[];
  length: number;
}

/** Numbers lines, takes them apart and puts those together that backslashes join. */
class LineJoiner {
  readonly #label: string;
  readonly #known = new Map<string, string[]>();
  #number = 0;
  #begun: Begun | undefined;

  constructor(label: string) {
    this.#label = label;
  }

  /**
   * Takes the next line.
   *
   * @returns what it completes; nothing when that goes on, or there is nothing to do.
   */
  take(line: string): ScriptLine | undefined {
    this.refuseLonger(line.length);
    this.#number++;
    const part = line.endsWith("\r") ? line.slice(0, -1) : line;
    const known = this.#begun === undefined ? this.#known.get(part) : undefined;
    if (known !== undefined) return lineOf(this.#number, part, known);
    const begun = this.#begun ?? { number: this.#number, cutter: new WordCutter(), parts: [], length: 0 };
    if (!this.#cut(begun, part)) {
      begun.parts.push(part.slice(0, -1));
      begun.length += part.length;
      this.#begun = begun;
      return undefined;
    }
    if (begun.parts.length === 0) this.#remember(part, begun.cutter.words);
    this.#begun = undefined;
    return lineOf(begun.number, [...begun.parts, part].join(""), begun.cutter.words);
  }

  /** @throws KvmIrqError `bad-input` when a line goes on for longer than a command can. */
  refuseLonger(letters: number): void {
    if ((this.#begun?.length ?? 0) + letters <= LONGEST_LINE) return;
    throw mistakeAt(
      this.#label,
      this.#begun?.number ?? this.#number + 1,
      new KvmIrqError("bad-input", `the line has more than ${LONGEST_LINE} characters`),
    );
  }

  /** @throws KvmIrqError `bad-input` when the last line was to be joined with one that is not there. */
  end(): void {
    if (this.#begun === undefined) return;
    throw mistakeAt(
      this.#label,
      this.#begun.number,
      new KvmIrqError("bad-input", "the script ends in a backslash, and no line follows that it could join", {
        hint: "take the backslash away, or quote it",
      }),
    );
  }

  #cut({ number, cutter }: Begun, part: string): boolean {
    try {
      return cutter.take(part);
    } catch (error) {
      throw mistakeAt(this.#label, number, error);
    }
  }

  #remember(text: string, words: string[]): void {
    if (this.#known.size >= REMEMBERED_LINES) this.#known.clear();
    this.#known.set(text, words);
  }
}

function lineOf(number: number, text: string, words: string[]): ScriptLine | undefined {
  return words.length === 0 ? undefined : { number, text: text.trim(), words };
}

/**
 * Does something with a line. What is wrong with it is a mistake of the script, and told with its place.
 *
 * @throws KvmIrqError `bad-input`.
 */
export async function atLine<T>(label: string, number: number, action: () => T | Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    throw mistakeAt(label, number, error);
  }
}

function mistakeAt(label: string, number: number, error: unknown): unknown {
  if (!(error instanceof KvmIrqError)) return error;
  return new KvmIrqError("bad-input", `${label}:${number}: ${error.message}`, {
    hint: error.hint,
    details: { ...error.details, line: number },
  });
}
