import { createReadStream } from "node:fs";
import { KvmIrqError } from "../abi/error.ts";
import { canReadAgain, readInput } from "../target/input.ts";

/** A line of a script that has something to do, or several that backslashes join. */
export interface ScriptLine {
  /** The first line's number. */
  number: number;
  text: string;
  words: string[];
}

/**
 * Cuts a line into words as a shell does: blanks separate, `'...'` and `"..."` and `\` quote, `#` at the
 * start of a word begins a comment. Nothing is expanded, and `&`, `<` and `>` are letters like any other.
 *
 * @returns nothing when it ends in a backslash, which joins it with the next line.
 * @throws KvmIrqError `bad-input` for a quote that is not closed.
 */
function splitWords(line: string): string[] | undefined {
  const words: string[] = [];
  let word: string | undefined;
  for (let at = 0; at < line.length; at++) {
    const letter = line[at]!;
    if (letter === "#" && word === undefined) break;
    if (letter === " " || letter === "\t" || letter === "\r") {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else if (letter === "'" || letter === '"') {
      const quoted = readQuoted(line, at);
      if (quoted === undefined) return undefined;
      word = (word ?? "") + quoted.text;
      at = quoted.end;
    } else if (letter === "\\") {
      if (++at === line.length) return undefined;
      word = (word ?? "") + line[at];
    } else word = (word ?? "") + letter;
  }
  if (word !== undefined) words.push(word);
  return words;
}

/**
 * In double quotes a backslash quotes the quote and itself, and joins lines; in single quotes nothing is special.
 *
 * @returns nothing when the line ends in a backslash that joins it with the next.
 */
function readQuoted(line: string, start: number): { text: string; end: number } | undefined {
  const quote = line[start]!;
  let text = "";
  for (let at = start + 1; at < line.length; at++) {
    if (line[at] === quote) return { text, end: at };
    if (quote === '"' && line[at] === "\\") {
      if (at + 1 === line.length) return undefined;
      if (/["\\]/.test(line[at + 1]!)) at++;
    }
    text += line[at];
  }
  throw new KvmIrqError("bad-input", `a quote (${quote}) is not closed`);
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
  }
  const last = rest ? joiner.take(rest) : undefined;
  if (last !== undefined) yield last;
  joiner.end();
}

/** Numbers lines, takes them apart and puts those together that backslashes join. */
class LineJoiner {
  readonly #label: string;
  readonly #known = new Map<string, string[]>();
  #number = 0;
  #begun: { number: number; text: string } | undefined;

  constructor(label: string) {
    this.#label = label;
  }

  /**
   * Takes the next line.
   *
   * @returns what it completes; nothing when that goes on, or there is nothing to do.
   */
  take(line: string): ScriptLine | undefined {
    this.#number++;
    const { number, text: before } = this.#begun ?? { number: this.#number, text: "" };
    const text = before + (line.endsWith("\r") ? line.slice(0, -1) : line);
    const words = this.#wordsOf(text, number);
    this.#begun = words === undefined ? { number, text: text.slice(0, -1) } : undefined;
    return words === undefined || words.length === 0 ? undefined : { number, text: text.trim(), words };
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

  #wordsOf(text: string, number: number): string[] | undefined {
    const known = this.#known.get(text);
    if (known !== undefined) return known;
    try {
      const words = splitWords(text);
      if (words === undefined) return undefined;
      if (this.#known.size >= REMEMBERED_LINES) this.#known.clear();
      this.#known.set(text, words);
      return words;
    } catch (error) {
      throw mistakeAt(this.#label, number, error);
    }
  }
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
