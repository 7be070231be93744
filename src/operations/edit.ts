import { KvmIrqError } from "../abi/error.ts";
import { toU64, type U64 } from "../abi/u64.ts";
import type { Arch, ArchData } from "../arch/arch.ts";
import { archesNaming, archNamed } from "../arch/arches.ts";
import { chipOfPath, controllerAt } from "../arch/fields.ts";
import { certainPart, type Field, type Path, parsePath, resolvePath } from "../registers/path.ts";
import type { Chips } from "../vm/chip.ts";
import type { SourceInfo } from "../vm/reading.ts";
import { checkChips } from "../vm/schema.ts";
import type { Source } from "../vm/source.ts";
import { blankReading, readSource } from "./take-snapshot.ts";

/** A field and the text of the value that it is to have. */
export interface Assignment {
  path: Path;
  text: string;
}

/** The chips that an edit touched: before, as asked for, and as read back. */
export interface Edited {
  arch: Arch;
  before: Chips;
  wanted: Chips;
  after: Chips;
}

/** How often an edit is tried again when another client changed a chip in between. */
const ATTEMPTS = 20;

/**
 * Parses `path=value`.
 *
 * @throws KvmIrqError `bad-path`.
 */
export function parseAssignment(text: string): Assignment {
  const equals = text.indexOf("=");
  if (equals === -1) {
    throw new KvmIrqError("bad-path", `${JSON.stringify(text)} has no value`, {
      hint: "write path=value, such as pic1.imr=0xfb or ioapic.redirtbl[4].mask=false",
    });
  }
  const path = parsePath(text.slice(0, equals));
  if (archesNaming(path).every((arch) => controllerAt(arch, path) === arch.vcpu)) {
    throw new KvmIrqError("bad-path", "a vCPU's state can be read, not set");
  }
  return { path, text: text.slice(equals + 1) };
}

/**
 * Changes single fields: reads the chips, changes them, writes them back, reads them again. All of it is
 * checked before anything is written, and a change by somebody else in between is not lost.
 *
 * @throws KvmIrqError `bad-path` for a field that is not there or a value that does not fit it.
 */
export async function editSource(source: Source, assignments: readonly Assignment[]): Promise<Edited> {
  const words = chipsOf(archNamed(source.identity.host.arch), assignments);
  const attempt = async (): Promise<Edited> => {
    const { arch, images, snapshot } = await readSource(source, words);
    const { chips: before } = snapshot;
    const wanted = structuredClone(before);
    change(wanted, assignments);
    const changed = arch.encode(wanted);
    await source.perform("writeChips", { images: changed, expected: images });
    const { images: written } = await source.read({ chips: images.map(({ id }) => id) });
    const after = arch.decode(written).chips;
    return { arch, before, wanted, after };
  };
  for (let tries = 1; ; tries++) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof KvmIrqError && error.code === "conflict") || tries === ATTEMPTS) throw error;
    }
  }
}

/**
 * Insists that a target has the fields of assignments, and that their values fit, without reading its state.
 *
 * @throws KvmIrqError `bad-path`, `bad-chip`.
 */
export function checkAssignments(info: SourceInfo, assignments: readonly Assignment[]): void {
  const certain = assignments.filter(({ path }) => certainPart(path).steps.length === path.steps.length);
  const { chips } = blankReading(info, chipsOf(archNamed(info.host.arch), assignments));
  for (const { path } of assignments) resolvePath(chips, certainPart(path));
  change(chips, certain);
}

function chipsOf(arch: ArchData, assignments: readonly Assignment[]): string[] {
  return assignments.map(({ path }) => chipOfPath(arch, path));
}

/** @throws KvmIrqError `bad-path`. */
function change(chips: Chips, assignments: readonly Assignment[]): void {
  for (const assignment of assignments) assign(chips, assignment);
  refuseUnfit(chips);
}

function assign(chips: Chips, { path, text }: Assignment): void {
  for (const field of resolvePath(chips, path)) field.set(parseValue(field, text));
}

/** A value of the kind that the field has now; words without a name are given as JSON. */
function parseValue({ path, value }: Field, text: string): unknown {
  if (text.startsWith("{")) return parseWords(path, text);
  if (typeof value === "boolean") {
    const truth = { true: true, "1": true, false: false, "0": false }[text];
    if (truth === undefined) throw badValue(path, text, "true or false");
    return truth;
  }
  if (Array.isArray(value) && value.every((element) => typeof element === "number")) {
    const list = text.replace(/^\[|\]$/g, "").trim();
    if (list === "") return [];
    const vectors = list.split(",").map((element) => Number(parseNumber(path, element)));
    return [...new Set(vectors)].sort((x, y) => x - y);
  }
  if (typeof value === "number") return parseNumber(path, text);
  if (typeof value === "string" && value.startsWith("0x")) return parseNumber(path, text);
  if (typeof value === "string") return text;
  throw new KvmIrqError("bad-path", `${path} is not a single field`, {
    hint: `it has: ${Object.keys(value as object).join(", ")}`,
  });
}

function parseWords(path: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw badValue(path, text, 'words by their offset, such as {"0x3f0":1}');
  }
}

/** A field of fewer bits refuses what is too large for it when the whole chip is checked. */
function parseNumber(path: string, text: string): U64 {
  if (!/^(0x[0-9a-fA-F]+|0b[01]+|\d+)$/.test(text.trim()))
    throw badValue(path, text, "a number (10, 0x0a or 0b1010)");
  return toU64(BigInt(text.trim()));
}

function badValue(path: string, text: string, wanted: string): KvmIrqError {
  return new KvmIrqError("bad-path", `${path} takes ${wanted}, not ${JSON.stringify(text)}`, {
    hint: "nothing was written",
  });
}

function refuseUnfit(chips: Chips): void {
  const [issue] = checkChips(chips);
  if (issue === undefined) return;
  throw new KvmIrqError("bad-path", `${issue.path}: ${issue.message}`, { hint: "nothing was written" });
}
