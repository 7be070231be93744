import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { KvmIrqError } from "../abi/error.ts";
import { accessInput, readInput } from "../target/input.ts";

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
 *   for standard input, which is read once and kept.
 * @throws KvmIrqError `no-file`.
 */
export function openScript(path: string): Script {
  if (path === "-") {
    const lines = readInput(path).toString("utf8").split("\n");
    return { label: "standard input", lines: () => wordLines(lines, "standard input") };
  }
  accessInput(path);
  return { label: path, lines: () => wordLines(createInterface({ input: createReadStream(path) }), path) };
}

async function* wordLines(
  lines: AsyncIterable<string> | Iterable<string>,
  label: string,
): AsyncGenerator<ScriptLine> {
  let number = 0;
  for await (const text of lines) {
    number++;
    const words = await atLine(label, number, () => splitWords(text));
    if (words.length > 0) yield { number, text: text.trim(), words };
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
    if (!(error instanceof KvmIrqError)) throw error;
    throw new KvmIrqError("bad-input", `${label}:${number}: ${error.message}`, {
      hint: error.hint,
      details: { ...error.details, line: number },
    });
  }
}
