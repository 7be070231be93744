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
import { excessOf } from "../../abi/json-limits.ts";
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
const FILE = ".kernel-types.json";
/** A reading looks up some 200 paths of 150 bytes. */
const MOST_BYTES = 2 ** 20;
/** No structure of the kernel's is larger. */
const MOST_OFFSET = 2 ** 24;
const KINDS = new Set(["int", "bool", "enum", "float", "pointer", "struct", "union", "array"]);

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
    const text = Buffer.from(JSON.stringify({ version: VERSION, kernel, fields, enums }));
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

/** @returns nothing for a text that is not of this version and kernel, or not as it was written. */
export function parseKnown(text: string, kernel: string): KnownTypes | undefined {
  if (excessOf(text) !== undefined) return undefined;
  const read: unknown = JSON.parse(text);
  if (!isRecord(read) || read["version"] !== VERSION || read["kernel"] !== kernel) return undefined;
  const { fields, enums } = read;
  const areFields =
    isRecord(fields) && Object.values(fields).every((field) => field === null || isField(field));
  const areEnums =
    isRecord(enums) && Object.values(enums).every((values) => values === null || isEnum(values));
  return areFields && areEnums ? ({ kernel, fields, enums } as KnownTypes) : undefined;
}

function isField(value: unknown): boolean {
  if (!isRecord(value)) return false;
  const { offset, size, kind, type, signed, bits, array, through } = value;
  return (
    [offset, size].every(isOffset) &&
    KINDS.has(kind as string) &&
    typeof type === "string" &&
    typeof signed === "boolean" &&
    (bits === undefined || (isRecord(bits) && isBit(bits["offset"]) && isBit(bits["size"]))) &&
    (array === undefined || (isRecord(array) && isOffset(array["count"]) && isOffset(array["stride"]))) &&
    Array.isArray(through) &&
    through.every(isOffset)
  );
}

function isEnum(value: unknown): boolean {
  return isRecord(value) && Object.values(value).every(Number.isSafeInteger);
}

function isOffset(value: unknown): boolean {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= MOST_OFFSET;
}

function isBit(value: unknown): boolean {
  return isOffset(value) && (value as number) <= 64;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
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
