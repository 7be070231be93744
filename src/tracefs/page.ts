import { viewOf } from "../abi/u64.ts";
import { badFormat, type Field, parseFields } from "./format.ts";

/**
 * How the pages of `trace_pipe_raw` are laid out, from `events/header_page` and `events/header_event`
 * (Documentation/trace/ring-buffer-design.rst has the ideas, the two files the numbers).
 */
export interface PageLayout {
  timestamp: Field;
  commit: Field;
  data: Field;
  /** Bytes of a whole page. */
  size: number;
  /** The `type_len` of entries that are no events. */
  padding: number;
  timeExtend: number;
  timeStamp: number;
}

/** Parses `events/header_page` and `events/header_event`. @throws KvmIrqError `trace-unavailable`. */
export function parsePageLayout(headerPage: string, headerEvent: string): PageLayout {
  const fields = parseFields(headerPage);
  const field = (name: string): Field => {
    const found = fields.find((candidate) => candidate.name === name);
    if (found === undefined) throw badFormat(`header_page has no "${name}"`);
    return found;
  };
  const type = (name: string): number => {
    const found = new RegExp(`^\\s*${name}\\s*:\\s*type\\s*==\\s*(\\d+)`, "m").exec(headerEvent);
    if (found === null) throw badFormat(`header_event has no "${name}"`);
    return Number(found[1]);
  };
  if (!/type_len\s*:\s*5 bits/.test(headerEvent) || !/time_delta\s*:\s*27 bits/.test(headerEvent)) {
    throw badFormat("header_event's type_len and time_delta are not of 5 and 27 bits");
  }
  const data = field("data");
  return {
    timestamp: field("timestamp"),
    commit: field("commit"),
    data,
    size: data.offset + data.size,
    padding: type("padding"),
    timeExtend: type("time_extend"),
    timeStamp: type("time_stamp"),
  };
}

/** The bits of `commit` that are a length; those above are flags. */
const COMMIT_LENGTH = (1 << 20) - 1;

/** The time_delta's bits; a longer one continues in the next word. */
const DELTA_BITS = 27n;
const DELTA_SPAN = 2 ** 27;
/** An absolute time stamp has 59 bits; those above come from the time so far. */
const STAMP_MASK = (1n << 59n) - 1n;

/**
 * Takes an event of a page.
 *
 * @param time nanoseconds of the trace clock since the origin. @param offset where its record starts in the page.
 * @param length the record's bytes.
 */
export type OnRecord = (time: number, offset: number, length: number) => void;

/**
 * Goes through the events of a page, in order.
 *
 * @param origin what of the trace clock counts as 0: times from there on are numbers, which hold 104 days.
 */
export function scanPage(view: DataView, layout: PageLayout, origin: bigint, onRecord: OnRecord): void {
  const committed = view.getInt32(layout.commit.offset, true) & COMMIT_LENGTH;
  const end = Math.min(layout.data.offset + committed, view.byteLength);
  let time = Number(view.getBigUint64(layout.timestamp.offset, true) - origin);
  let offset = layout.data.offset;
  while (offset + 4 <= end) {
    const head = view.getUint32(offset, true);
    const typeLen = head & 0x1f;
    const delta = head >>> 5;
    offset += 4;
    if (typeLen === layout.padding) {
      // A null event fills the rest of the page; a discarded one says how long it was.
      if (delta === 0) return;
      time += delta;
      offset += view.getUint32(offset, true);
    } else if (typeLen === layout.timeExtend) {
      time += view.getUint32(offset, true) * DELTA_SPAN + delta;
      offset += 4;
    } else if (typeLen === layout.timeStamp) {
      const stamp = (BigInt(view.getUint32(offset, true)) << DELTA_BITS) | BigInt(delta);
      time = Number((((BigInt(time) + origin) & ~STAMP_MASK) | stamp) - origin);
      offset += 4;
    } else {
      time += delta;
      // Short records have their length in words in the head; long ones in a word of its own, itself included.
      const start = typeLen === 0 ? offset + 4 : offset;
      const next = offset + (typeLen === 0 ? (view.getUint32(offset, true) + 3) & ~3 : typeLen * 4);
      onRecord(time, start, next - start);
      offset = next;
    }
  }
}

/** How many records a page has. */
export function countRecords(page: Uint8Array, layout: PageLayout): number {
  let count = 0;
  scanPage(viewOf(page), layout, 0n, () => {
    count++;
  });
  return count;
}
