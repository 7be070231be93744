import { KvmIrqError } from "../abi/error.ts";
import { readU64, type U64 } from "../abi/u64.ts";
import type { Args, ArgValue } from "./event.ts";

/** One field as a `format` file declares it: `field:unsigned int gsi;	offset:8;	size:4;	signed:0;`. */
export interface Field {
  name: string;
  /** The C type as written, without the name. */
  type: string;
  /** Bytes from the record's start. */
  offset: number;
  /** Bytes in the record. */
  size: number;
  signed: boolean;
  /** The number of elements of an array; `undefined` for a single value. */
  count?: number;
}

/** A tracepoint's record, from `events/<group>/<name>/format`. */
export interface EventFormat {
  name: string;
  /** What `common_type` holds in this event's records. */
  id: number;
  /** The event's own fields, without the `common_` ones. */
  fields: Field[];
  /** The fields that every event has: `common_type`, `common_flags`, `common_pid` and so on. */
  common: Field[];
}

const FIELD =
  /^\s*field:\s*(?<declaration>[^;]+);\s*offset:(?<offset>\d+);\s*size:(?<size>\d+);(?:\s*signed:(?<signed>\d+);)?/;
const DECLARATION = /^(?<type>.*?)\s*\b(?<name>\w+)(?:\[(?<count>\w*)\])?$/;

/** Every `field:` line of a text, such as `events/header_page`. */
export function parseFields(text: string): Field[] {
  return text.split("\n").flatMap((line) => {
    const field = FIELD.exec(line)?.groups;
    return field === undefined ? [] : [parseField(field)];
  });
}

function parseField(groups: Record<string, string | undefined>): Field {
  const declaration = DECLARATION.exec(groups["declaration"]!.trim())?.groups;
  if (declaration === undefined) throw badFormat(`field "${groups["declaration"]}" can't be read`);
  const { name, type, count } = declaration as { name: string; type: string; count?: string };
  return {
    name,
    type,
    offset: Number(groups["offset"]),
    size: Number(groups["size"]),
    signed: groups["signed"] === "1",
    ...(count === undefined ? {} : { count: Number(count) || 0 }),
  };
}

/**
 * Parses a `format` file of tracefs (Documentation/trace/events.rst, "Event formats").
 *
 * @throws KvmIrqError `trace-unavailable` for a text that is none.
 */
export function parseEventFormat(text: string): EventFormat {
  const name = /^name:\s*(\S+)/m.exec(text)?.[1];
  const id = /^ID:\s*(\d+)/m.exec(text)?.[1];
  if (name === undefined || id === undefined) throw badFormat("an event's format has no name or ID");
  const fields = parseFields(text);
  const isCommon = (field: Field) => field.name.startsWith("common_");
  return {
    name,
    id: Number(id),
    common: fields.filter(isCommon),
    fields: fields.filter((field) => !isCommon(field)),
  };
}

/** Reads one field of the record that starts at `record`. */
export type FieldReader = (view: DataView, record: number) => ArgValue;

/** Reads all of an event's own fields. @param length the record's bytes. */
export type ArgsReader = (view: DataView, record: number, length: number) => Args;

/** How many different records of an event are remembered, a power of two, and of how many bytes at most. */
const REMEMBERED = 4096;
const LONGEST_REMEMBERED = 64;

/**
 * Makes the reader of an event's own fields, once for all its records. Those of equal records are read once: a
 * storm has few different ones, and they share what was read.
 */
export function argsReader(format: EventFormat): ArgsReader {
  const readers = format.fields.map((field) => ({ name: field.name, read: fieldReader(field) }));
  const start = Math.min(...format.fields.map(({ offset }) => offset));
  const remembered = new Array<{ words: Uint32Array; args: Args } | undefined>(REMEMBERED).fill(undefined);
  const readAll = (view: DataView, record: number): Args => {
    const args: Record<string, ArgValue> = {};
    for (const { name, read } of readers) args[name] = read(view, record);
    return args;
  };
  return (view, record, length) => {
    if (start % 4 !== 0 || length % 4 !== 0 || length > LONGEST_REMEMBERED) return readAll(view, record);
    const [from, end] = [record + start, record + length];
    const slot = hashOf(view, from, end) & (REMEMBERED - 1);
    const known = remembered[slot];
    if (known !== undefined && isEqual(known.words, view, from, end)) return known.args;
    const args = readAll(view, record);
    remembered[slot] = { words: wordsOf(view, from, end), args };
    return args;
  };
}

/** A number that differs for most records that differ (the multiplier of FNV-1a, 32 bits, for words). */
function hashOf(view: DataView, from: number, end: number): number {
  let hash = 0;
  for (let at = from; at < end; at += 4) hash = Math.imul(hash ^ view.getUint32(at, true), 0x0100_0193);
  return hash ^ (hash >>> 15);
}

function isEqual(words: Uint32Array, view: DataView, from: number, end: number): boolean {
  if (words.length !== (end - from) / 4) return false;
  for (let index = 0; index < words.length; index++) {
    if (words[index] !== view.getUint32(from + index * 4, true)) return false;
  }
  return true;
}

function wordsOf(view: DataView, from: number, end: number): Uint32Array {
  return Uint32Array.from({ length: (end - from) / 4 }, (_, index) => view.getUint32(from + index * 4, true));
}

/** Makes the reader of one field from its declaration. */
export function fieldReader(field: Field): FieldReader {
  const { type, offset, size } = field;
  if (/\b__(data|rel)_loc\b/.test(type)) return locatedReader(field);
  if (field.count !== undefined) {
    if (/\bchar\b/.test(type)) return (view, record) => textAt(view, record + offset, size);
    const element = integerReader(size / Math.max(field.count, 1), field.signed);
    return (view, record) =>
      Array.from({ length: field.count! }, (_, index) =>
        element(view, record + offset + (index * size) / field.count!),
      );
  }
  if (type === "bool" || type === "_Bool") return (view, record) => view.getUint8(record + offset) !== 0;
  const integer = integerReader(size, field.signed);
  return (view, record) => integer(view, record + offset);
}

/**
 * A field that says where its bytes are: the low half of a u32 is the offset (from the record, or for
 * `__rel_loc` from behind the field itself), the high half the length.
 */
function locatedReader({ type, offset, size }: Field): FieldReader {
  const isText = /\bchar\b/.test(type);
  const from = type.includes("__rel_loc") ? offset + size : 0;
  return (view, record) => {
    const location = view.getUint32(record + offset, true);
    const start = record + from + (location & 0xffff);
    const length = location >>> 16;
    if (isText) return textAt(view, start, length);
    return Array.from({ length }, (_, index) => view.getUint8(start + index));
  };
}

function integerReader(size: number, signed: boolean): (view: DataView, offset: number) => U64 {
  switch (size) {
    case 1:
      return signed ? (view, offset) => view.getInt8(offset) : (view, offset) => view.getUint8(offset);
    case 2:
      return signed
        ? (view, offset) => view.getInt16(offset, true)
        : (view, offset) => view.getUint16(offset, true);
    case 4:
      return signed
        ? (view, offset) => view.getInt32(offset, true)
        : (view, offset) => view.getUint32(offset, true);
    case 8:
      return signed ? (view, offset) => Number(view.getBigInt64(offset, true)) : u64At;
    default:
      throw badFormat(`a field of ${size} bytes is no integer`);
  }
}

/** Like readU64, without a BigInt where the value is one that a number holds. */
function u64At(view: DataView, offset: number): U64 {
  const high = view.getUint32(offset + 4, true);
  return high < 2 ** 21 ? high * 2 ** 32 + view.getUint32(offset, true) : readU64(view, offset);
}

function textAt(view: DataView, offset: number, length: number): string {
  const bytes = new Uint8Array(view.buffer, view.byteOffset + offset, length);
  const end = bytes.indexOf(0);
  return new TextDecoder("latin1").decode(end === -1 ? bytes : bytes.subarray(0, end));
}

/** The error for a file of tracefs that is not as the kernel's documents say. */
export function badFormat(message: string): KvmIrqError {
  return new KvmIrqError("trace-unavailable", `this kernel's tracing can't be read: ${message}`, {
    hint: "please report it, with the kernel's version",
  });
}
