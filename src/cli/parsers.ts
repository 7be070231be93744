import { InvalidArgumentError, Option } from "commander";
import { KvmIrqError } from "../abi/error.ts";
import { ARCHES, HOST_ARCH } from "../arch/arches.ts";
import { badChip } from "../operations/take-snapshot.ts";
import { parsePath } from "../registers/path.ts";
import { parseDuration } from "../text/duration.ts";

/** Parsers of option and argument values. Each takes the text and throws what is wrong with it. */

/** Timers of Node hold 2^31 - 1 milliseconds; longer ones fire at once. */
const MAX_DURATION_MS = 2 ** 31 - 1;

/** A duration such as `500us`, `10ms`, `2s`, `5m`, `1h`, in milliseconds. A bare `0` is a duration too. */
export function duration(text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined) {
    const lacks = /^\d+(\.\d+)?$/.test(text) ? "needs a unit" : "is a positive number and its unit";
    throw new InvalidArgumentError(`a duration ${lacks}: 500us, 10ms, 2s, 5m or 1h.`);
  }
  if (ms > MAX_DURATION_MS) throw new InvalidArgumentError("the longest duration is 596h.");
  return ms;
}

/** A duration that is longer than so many milliseconds. */
export function longerThan(ms: number): (text: string) => number {
  return (text) => {
    const value = duration(text);
    if (value > ms) return value;
    throw new InvalidArgumentError(`it has to be longer than ${ms} ms.`);
  };
}

function ranged(form: RegExp, kind: string, also = "") {
  return (min: number, max: number) =>
    (text: string): number => {
      const value = form.test(text) ? Number(text) : Number.NaN;
      if (value >= min && value <= max) return value;
      throw new InvalidArgumentError(`it takes a ${kind} from ${min} to ${max}${also}.`);
    };
}

/** A whole number in a range, both ends included. */
export const wholeNumber = ranged(/^\d+$/, "whole number");
/** A number in a range, both ends included, in decimal or as `0x41`. */
export const integer = ranged(/^(\d+|0x[0-9a-fA-F]+)$/, "number", ", or the same in hexadecimal");

/**
 * GSIs: numbers and ranges. Collects a variadic argument. Those that no routing can have are refused here;
 * whether the target's routing takes the others somewhere, it says itself.
 */
export function gsis(text: string, previous: number[] | undefined): number[] {
  return [...new Set([...(previous ?? []), ...HOST_ARCH.lines.parse(text)])];
}

/** One GSI. */
export function gsi(text: string): number {
  const [one, another] = gsis(text, undefined);
  if (another === undefined) return one!;
  throw new KvmIrqError("bad-gsi", `${text} is more than one GSI`, {
    hint: "this command takes one at a time",
  });
}

/**
 * `--chip`, repeatable and in lists with commas. What a VM has of them, it says itself.
 *
 * @param what it is for. @param facts names what can be chosen beside chips.
 */
export function chipOption(what: string, facts: readonly string[] = []): Option {
  const words = HOST_ARCH.chipWords.flatMap((word) => {
    const one = HOST_ARCH.controller(`${word}[0]`);
    return one === undefined ? [word] : [word, `${word}[N]`];
  });
  return new Option("--chip <chip>", `${what}: ${[...words, ...facts].join(", ")}; repeatable`).argParser(
    (text: string, previous: string[] | undefined) => {
      const given = text.split(",");
      for (const word of given) {
        if (facts.includes(word) || ARCHES.some((arch) => arch.chipFilter(word))) continue;
        throw badChip(word, HOST_ARCH, facts);
      }
      return [...(previous ?? []), ...given];
    },
  );
}

/** A parser that collects the values of what is repeatable. @param parse one of them. */
export function collecting<T>(parse: (text: string) => T): (text: string, before: T[] | undefined) => T[] {
  return (text, before) => [...(before ?? []), parse(text)];
}

/** A path of `--ignore`, repeatable. */
export const paths = collecting((text) => parsePath(text).text);

/** An option that takes one of some words. */
export function choice(flags: string, description: string, words: readonly string[]): Option {
  return new Option(flags, description).choices(words);
}

/** `--output`: the path of a file, or `-`; see {@link namedFile}. */
export function outputOption(description: string): Option {
  return new Option("-o, --output <file>", `${description}; - is standard output`).argParser((path) => {
    if (path === "") throw new InvalidArgumentError("a file has a name.");
    return path;
  });
}

/** The file that `--output` names; `undefined` where that is standard output. */
export function namedFile(output: string | undefined): string | undefined {
  return output === "-" ? undefined : output;
}

/** `--routing`: a table by name. Without it, possibleRoutings of src/vm/routing.ts decides. */
export function routingOption(): Option {
  const what = "which GSI goes where (default: a session's own; else not known)";
  return choice("--routing <name>", what, Object.keys(HOST_ARCH.routing.tables));
}
