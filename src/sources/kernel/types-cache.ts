import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import type { Field } from "../../os/btf.ts";
import { checkRuntimeDir, ensureRuntimeDir, runtimeDir } from "../session/runtime-dir.ts";

/** A field at the end of a path, and the pointers on the way: where each is, from where the one before it leads. */
export interface FieldPath extends Field {
  through: readonly number[];
}

/** What was looked up of this kernel's types; null where it has no such thing. */
export interface KnownTypes {
  /** Which kernel and KVM modules it is of; absent where they don't say, and then nothing is kept. */
  kernel: string | undefined;
  fields: Record<string, FieldPath | null>;
  enums: Record<string, Record<string, number> | null>;
}

/** Raised with every change of what a path means, or of what is kept of it. */
const VERSION = 1;
/** No session has such a name. */
const FILE = ".kernel-types";
/** A reading looks up some 200 paths of 100 bytes. */
const MOST_BYTES = 2 ** 20;
/** No structure of the kernel's is larger. */
const MOST_OFFSET = 2 ** 24;
/** What the last line is: without it, the file is not whole. */
const END = "end";

/**
 * What earlier processes of this user kept of the running kernel's types, in the runtime folder. A file of another
 * kernel, one that is damaged, or that somebody else could have written, is none.
 */
export function readKnown(folder: string = runtimeDir()): KnownTypes {
  const kernel = buildIds();
  const none = { kernel, fields: {}, enums: {} };
  if (kernel === undefined) return none;
  try {
    if (!checkRuntimeDir(folder)) return none;
    return parseKnown(readOwn(join(folder, FILE)), kernel) ?? none;
  } catch {
    return none;
  }
}

/** Keeps it, whole or not at all; in silence where that can't be done. */
export function writeKnown({ kernel, fields, enums }: KnownTypes, folder: string = runtimeDir()): void {
  if (kernel === undefined) return;
  try {
    const path = join(ensureRuntimeDir(folder), FILE);
    const text = Buffer.from(spellKnown({ kernel, fields, enums }));
    if (text.length <= MOST_BYTES) replaceFile(path, text);
  } catch {
    // The next process looks it up again.
  }
}

/** Writes beside it and renames. What a killed process left there is taken away, and the next one writes. */
function replaceFile(path: string, bytes: Buffer): void {
  const draft = `${path}.tmp`;
  try {
    // O_EXCL, which follows no link either (open(2)).
    const fd = openSync(draft, "wx", 0o600);
    try {
      for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
    } finally {
      closeSync(fd);
    }
    renameSync(draft, path);
  } catch (error) {
    unlinkSync(draft);
    throw error;
  }
}

/** Reads a file that nobody but this user, or a link to it, could have put there. */
function readOwn(path: string): string {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const stats = fstatSync(fd);
    const isOwn = stats.isFile() && stats.uid === process.getuid?.() && (stats.mode & 0o077) === 0;
    if (!isOwn || stats.size > MOST_BYTES) return "";
    const bytes = Buffer.alloc(stats.size);
    return bytes.toString("utf8", 0, readSync(fd, bytes));
  } finally {
    closeSync(fd);
  }
}

/*
 * A line for each field and enum, its parts apart by blanks. Not JSON: to limit that before it is parsed takes longer
 * than all the rest.
 */
function spellKnown({ kernel, fields, enums }: KnownTypes): string {
  const lines = [`${VERSION} ${kernel}`];
  for (const [path, field] of Object.entries(fields))
    lines.push(`field ${path} ${field ? spellField(field) : "-"}`);
  for (const [name, values] of Object.entries(enums)) {
    const pairs = values && Object.entries(values).map(([value, number]) => `${value}=${number}`);
    lines.push(`enum ${name} ${pairs?.join(",") ?? "-"}`);
  }
  return [...lines, END, ""].join("\n");
}

function spellField({ offset, size, kind, type, signed, bits, array, through }: FieldPath): string {
  return [
    `${offset}+${size}`,
    `${kind}:${type}:${signed ? "s" : "u"}`,
    bits ? `bits=${bits.offset}+${bits.size}` : "",
    array ? `array=${array.count}*${array.stride}` : "",
    through.map((pointer) => `->${pointer}`).join(""),
  ]
    .filter((part) => part !== "")
    .join(" ");
}

const KIND = "int|bool|enum|float|pointer|struct|union|array";
const FIELD_LINE = new RegExp(
  `^(\\d+)\\+(\\d+) (${KIND}):(\\w*):([su])(?: bits=(\\d+)\\+(\\d+))?(?: array=(\\d+)\\*(\\d+))?(?: ((?:->\\d+)+))?$`,
);
const ENUM_LINE = /^(?:\w+=-?\d+(?:,|$))*$/;

/** @returns nothing for a text that is not of this version and kernel, or not as it was written. */
export function parseKnown(text: string, kernel: string): KnownTypes | undefined {
  const [head, ...lines] = text.split("\n");
  if (head !== `${VERSION} ${kernel}` || lines.pop() !== "" || lines.pop() !== END) return undefined;
  const known: KnownTypes = { kernel, fields: {}, enums: {} };
  for (const line of lines) {
    const [, what, name, rest] = /^(field|enum) (\S+) (.*)$/.exec(line) ?? [];
    if (name === undefined || rest === undefined) return undefined;
    const isField = what === "field";
    const value = rest === "-" ? null : isField ? parseField(rest) : parseEnum(rest);
    if (value === undefined) return undefined;
    if (isField) known.fields[name] = value as FieldPath | null;
    else known.enums[name] = value as Record<string, number> | null;
  }
  return known;
}

function parseField(text: string): FieldPath | undefined {
  const [, offset, size, kind, type, sign, bit, bits, count, stride, pointers = ""] =
    FIELD_LINE.exec(text) ?? [];
  const through = pointers.split("->").slice(1).map(Number);
  const numbers = [offset, size, bit, bits, count, stride].map((number) => Number(number ?? 0));
  if (kind === undefined || [...numbers, ...through].some((number) => number > MOST_OFFSET)) return undefined;
  const [at = 0, length = 0, firstBit = 0, width = 0, elements = 0, apart = 0] = numbers;
  return {
    offset: at,
    size: length,
    kind: kind as FieldPath["kind"],
    type: type ?? "",
    signed: sign === "s",
    ...(bits === undefined ? {} : { bits: { offset: firstBit, size: width } }),
    ...(stride === undefined ? {} : { array: { count: elements, stride: apart } }),
    through,
  };
}

function parseEnum(text: string): Record<string, number> | undefined {
  if (!ENUM_LINE.test(text)) return undefined;
  const pairs = text.split(",").map((pair) => pair.split("="));
  return Object.fromEntries(
    pairs.filter(([name]) => name !== "").map(([name, number]) => [name, Number(number)]),
  );
}

/** `NT_GNU_BUILD_ID` and its name in a note, as `/sys/kernel/notes` has them: elf(5). */
const BUILD_ID = Buffer.from("\x03\0\0\0GNU\0", "latin1");

/** The build ids of the kernel and of its KVM modules; nothing where one does not say. */
function buildIds(): string | undefined {
  try {
    const ids = [buildId("/sys/kernel/notes")];
    for (const module of readdirSync("/sys/module")
      .filter((name) => /^kvm/.test(name))
      .sort()) {
      // Built in, it has no notes of its own.
      const folder = `/sys/module/${module}/notes`;
      if (readdirSync(`/sys/module/${module}`).includes("notes"))
        ids.push(buildId(`${folder}/.note.gnu.build-id`));
    }
    return ids.includes(undefined) ? undefined : ids.join(" ");
  } catch {
    return undefined;
  }
}

function buildId(path: string): string | undefined {
  const notes = readFileSync(path);
  const at = notes.indexOf(BUILD_ID);
  if (at < 8) return undefined;
  const start = at + BUILD_ID.length;
  return notes.toString("hex", start, start + notes.readUInt32LE(at - 4));
}
