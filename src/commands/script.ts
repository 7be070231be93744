import { createReadStream } from "node:fs";
import { KvmIrqError } from "../abi/error.ts";
import { canReadAgain, readInput } from "../target/input.ts";

/** A line of a script that has something to do. */
export interface ScriptLine {
  number: number;
  text: string;
  words: string[];
}

/**
 * Cuts a line into words as a shell does: blanks separate, `'...'` and `"..."` and `\` quote, `#` at the
 * start of a word begins a comment. Nothing is expanded, and `&`, `<` and `>` are letters like any other.
 *
 * @throws KvmIrqError `bad-input` for a quote that is not closed.
 */
export function splitWords(line: string): string[] {
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
      word = (word ?? "") + quoted.text;
      at = quoted.end;
    } else if (letter === "\\") {
      word = (word ?? "") + (line[++at] ?? "");
    } else word = (word ?? "") + letter;
  }
  if (word !== undefined) words.push(word);
  return words;
}

/** In double quotes a backslash quotes the quote and itself; in single quotes nothing is special. */
function readQuoted(line: string, start: number): { text: string; end: number } {
  const quote = line[start]!;
  let text = "";
  for (let at = start + 1; at < line.length; at++) {
    if (line[at] === quote) return { text, end: at };
    if (quote === '"' && line[at] === "\\" && /["\\]/.test(line[at + 1] ?? "")) at++;
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
  const wordsOf = rememberingWords(label);
  let number = 0;
  let rest = "";
  for await (const piece of pieces) {
    // A stream, unlike what is read whole, still has the byte order mark.
    const text = number === 0 && rest === "" ? piece.replace(/^\ufeff/, "") : piece;
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    for (const line of lines) {
      const words = wordsOf(line, ++number);
      if (words.length > 0) yield { number, text: line.trim(), words };
    }
  }
  const words = wordsOf(rest, ++number);
  if (words.length > 0) yield { number, text: rest.trim(), words };
}

function rememberingWords(label: string): (line: string, number: number) => string[] {
  const known = new Map<string, string[]>();
  return (line, number) => {
    let words = known.get(line);
    if (words !== undefined) return words;
    try {
      words = splitWords(line);
    } catch (error) {
      throw mistakeAt(label, number, error);
    }
    if (known.size >= REMEMBERED_LINES) known.clear();
    known.set(line, words);
    return words;
  };
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
