import * as v from "valibot";
import type { Controller } from "../arch/arch.ts";
import { ARCHES, archNamed } from "../arch/arches.ts";
import { isPerVcpu } from "../arch/codec.ts";
import { fieldSchemas, lengthOf, u64Schema, unsigned } from "../registers/schema.ts";
import { versionsOf } from "../registers/struct.ts";
import { MOST_VCPUS } from "./chip.ts";
import { type FactKind, ORIGINS, type Shape } from "./facts.ts";
import { GUEST_PROGRAMS, type GuestProgram } from "./guest.ts";
import { MAX_ROUTES } from "./routing.ts";
import { KERNEL_IRQCHIPS, SNAPSHOT_FORMAT, SNAPSHOT_VERSION, type Snapshot } from "./snapshot.ts";

/**
 * The snapshot format as a valibot schema: it validates what people hand in, and the JSON Schema of the
 * package is made from it. Only the commands that take snapshots load this file.
 */

const u8 = unsigned(8);
const u32 = unsigned(32);

/** Chips by kind, as each architecture has them that has such chips. */
const KINDS = new Map<string, [Controller, ...Controller[]]>();
for (const one of ARCHES.flatMap(({ chipKinds }) => chipKinds)) {
  KINDS.set(one.kind, [...(KINDS.get(one.kind) ?? []), one] as [Controller, ...Controller[]]);
}

/** What a kind of chip has to be. How long its lists are exactly, the architecture says: {@link wrongLengths}. */
function chipSchema(alike: readonly [Controller, ...Controller[]]): v.GenericSchema {
  const [one] = alike;
  const fields = fieldSchemas(
    one.layout.fields,
    alike.flatMap(({ layout }) => versionsOf(layout).map(({ fields }) => fields)),
  );
  if (!isPerVcpu(one)) return v.strictObject(fields);
  // Each belongs to a vCPU of its own; a second image of one would silently win.
  return v.pipe(
    v.array(v.strictObject({ vcpu: u32, ...fields })),
    v.check(
      (list) => new Set(list.map(({ vcpu }) => vcpu)).size === list.length,
      `two ${one.title}s of one vCPU`,
    ),
  );
}

const vcpu = v.strictObject({
  vcpu: u32,
  ...Object.assign({}, ...ARCHES.map((arch) => fieldSchemas(arch.vcpu?.layout.fields ?? {}))),
  run: v.exactOptional(v.boolean()),
});

const chipName = v.picklist([...new Set(ARCHES.flatMap(({ routing }) => Object.keys(routing.inputs)))]);
const route = v.union([
  v.strictObject({ gsi: u32, chip: chipName, pin: u8 }),
  v.strictObject({ gsi: u32, msi: v.strictObject({ address: u32, data: u32 }) }),
]);

const chipsSchema = v.strictObject(
  Object.fromEntries([...KINDS].map(([kind, alike]) => [kind, v.exactOptional(chipSchema(alike))])),
);

const WORDS: Record<Extract<Shape, string>, v.GenericSchema> = {
  flag: v.boolean(),
  text: v.pipe(v.string(), v.maxLength(256)),
  chip: chipName,
  u8,
  u16: unsigned(16),
  u32,
  u64: u64Schema,
  integer: v.pipe(v.number(), v.integer()),
  null: v.null(),
};

function shapeSchema(shape: Shape): v.GenericSchema {
  if (typeof shape === "string") return WORDS[shape];
  if ("list" in shape) return v.pipe(v.array(shapeSchema(shape.list)), v.maxLength(shape.most));
  if ("either" in shape) return v.union(shape.either.map(shapeSchema));
  if (!("has" in shape)) return v.picklist(shape);
  const all = (shapes: Readonly<Record<string, Shape>>, wrap: (one: v.GenericSchema) => v.GenericSchema) =>
    Object.fromEntries(Object.entries(shapes).map(([name, one]) => [name, wrap(shapeSchema(one))]));
  return v.strictObject({
    ...all(shape.has, (one) => one),
    ...all(shape.may ?? {}, (one) => v.exactOptional(one)),
  });
}

/** Facts by name, of all architectures. */
const FACTS: Record<string, FactKind> = Object.assign({}, ...ARCHES.map(({ facts }) => facts));
const factSchemas = Object.fromEntries(
  Object.entries(FACTS).map(([name, { shape }]) => [
    name,
    v.exactOptional(v.strictObject({ value: shapeSchema(shape), from: v.picklist(ORIGINS) })),
  ]),
);

export const snapshotSchema = v.strictObject({
  format: v.literal(SNAPSHOT_FORMAT),
  version: v.literal(SNAPSHOT_VERSION),
  captured_at: v.string(),
  source: v.looseObject({ kind: v.string() }),
  host: v.looseObject({ kernel: v.string(), arch: v.string() }),
  chips: chipsSchema,
  vcpus: v.exactOptional(v.array(vcpu)),
  guest: v.exactOptional(
    v.strictObject({
      program: v.picklist(Object.keys(GUEST_PROGRAMS) as GuestProgram[]),
      running: v.boolean(),
      ended: v.exactOptional(v.string()),
      handled: v.array(v.strictObject({ vector: u8, count: u32 })),
    }),
  ),
  irqchip: v.exactOptional(v.picklist(KERNEL_IRQCHIPS)),
  routing: v.exactOptional(v.union([v.literal("default"), v.array(route)])),
  ...factSchemas,
  unknown: v.exactOptional(v.record(v.picklist(Object.keys(FACTS)), WORDS.text)),
});

/** A place in the input that does not fit, as a path (`chips.pic1.irr`) and a sentence. */
export interface SchemaIssue {
  path: string;
  message: string;
}

/**
 * Checks that a parsed JSON value is a snapshot.
 *
 * @returns the snapshot, or every place that does not fit.
 * @throws KvmIrqError `bad-input` for an architecture that is not known.
 */
export function checkSnapshot(value: unknown): { snapshot: Snapshot } | { issues: SchemaIssue[] } {
  const long = tooLong(value);
  if (long !== undefined) return { issues: [long] };
  const result = parse(snapshotSchema, value);
  if (!result.success) return { issues: result.issues.map(toIssue) };
  const snapshot = result.output as unknown as Snapshot;
  const issues = wrongLengths(snapshot);
  return issues.length === 0 ? { snapshot } : { issues };
}

/** A list that no VM can have. Each of its millions of elements would be looked at, and complained of. */
function tooLong(value: unknown): SchemaIssue | undefined {
  const { chips, vcpus, routing } = (value ?? {}) as Record<string, unknown>;
  const lists: [path: string, list: unknown, most: number][] = [
    ...[...KINDS.keys()].map((kind): [string, unknown, number] => [
      `chips.${kind}`,
      (chips as Record<string, unknown> | undefined)?.[kind],
      MOST_VCPUS,
    ]),
    ["vcpus", vcpus, MOST_VCPUS],
    ["routing", routing, MAX_ROUTES],
  ];
  for (const [path, list, most] of lists) {
    if (Array.isArray(list) && list.length > most) {
      return { path, message: `it has ${list.length} elements, and should have at most ${most}` };
    }
  }
  return undefined;
}

/** Lists of a chip that are as long as another architecture's. */
function wrongLengths({ host, chips }: Snapshot): SchemaIssue[] {
  const { name, chipKinds } = archNamed(host.arch);
  return chipKinds.flatMap(({ kind, title, layout }) =>
    Object.keys(layout.fields).flatMap((field) => {
      const allowed = versionsOf(layout).flatMap(({ fields }) => lengthOf(fields[field]) ?? []);
      const list = (chips[kind] as Record<string, unknown[]> | undefined)?.[field];
      if (allowed.length === 0 || list === undefined || allowed.includes(list.length)) return [];
      const message = `it has ${list.length} elements; an ${title} of ${name} has ${allowed.join(" or ")}`;
      return [{ path: `chips.${kind}.${field}`, message }];
    }),
  );
}

/** Every place where decoded chips would not fit the format, such as a vector above 255. */
export function checkChips(value: unknown): SchemaIssue[] {
  return parse(chipsSchema, value).issues?.map(toIssue) ?? [];
}

/** So many values, each of which may be an issue, are looked at to the end; of more, up to the first issue. */
const MOST_LOOKED_AT = 100_000;

function parse<S extends v.GenericSchema>(schema: S, value: unknown): v.SafeParseResult<S> {
  return v.safeParse(schema, value, { abortEarly: countValues(value) > MOST_LOOKED_AT });
}

function countValues(value: unknown): number {
  if (typeof value !== "object" || value === null) return 1;
  let count = 1;
  for (const part of Object.values(value)) count += countValues(part);
  return count;
}

function toIssue(issue: v.BaseIssue<unknown>): SchemaIssue {
  return { path: issuePath(issue), message: sentence(issue) };
}

/** What does not fit, in words; the schema's own are for those who know schemas. */
function sentence({ type, expected, received, message }: v.BaseIssue<unknown>): string {
  if (type === "check" || type === "regex") return message;
  if (expected === "never") return "there is no such field";
  if (received === "undefined") return "it is missing";
  const limit = expected?.slice(2);
  switch (type) {
    case "min_value":
      return `${received} is less than ${limit}`;
    case "max_value":
      return `${received} is more than ${limit}`;
    case "min_length":
      return `it has ${received} elements, and should have at least ${limit}`;
    case "max_length":
      return `it has ${received} elements, and should have at most ${limit}`;
    case "integer":
      return `${received} is not a whole number`;
    default:
      return `${received} is not ${expected?.replace(/^\((.*)\)$/, "one of $1").replaceAll(" | ", ", ")}`;
  }
}

function issuePath(issue: v.BaseIssue<unknown>): string {
  let path = "";
  for (const { key } of issue.path ?? []) {
    path += typeof key === "number" ? `[${key}]` : path === "" ? String(key) : `.${String(key)}`;
  }
  return path;
}
