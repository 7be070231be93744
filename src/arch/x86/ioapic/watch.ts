import { crop, pad, sideBySide } from "../../../text/fit.ts";
import { hex } from "../../../text/format.ts";
import type { Marks } from "../../arch.ts";
import type { IoapicState, RedirectionEntry } from "./layout.ts";

/** A pin as a row of the live view shows it. */
interface Pin {
  pin: number;
  entry: RedirectionEntry;
  irr: boolean;
}

/** A column: its heading, its width (the last has what is left), and its text. */
type Column = readonly [head: string, width: number, text: (pin: Pin, marks: Marks) => string];

const path = ({ pin }: Pin, field: keyof RedirectionEntry) => `ioapic.redirtbl[${pin}].${field}`;
const field =
  (name: "vector" | "delivery_mode" | "polarity" | "trig_mode") =>
  (pin: Pin, { mark }: Marks) => {
    const value = pin.entry[name];
    return mark(typeof value === "number" ? hex(value) : value, path(pin, name));
  };

const PIN: Column = ["PIN", 3, ({ pin }) => String(pin).padStart(3)];
const EDGES: Column = ["EDGES", 5, ({ pin }, { edges }) => edges("ioapic", pin)];
const WIDE: readonly Column[] = [
  PIN,
  ["VECTOR", 6, field("vector")],
  ["DELIVERY", 15, field("delivery_mode")],
  ["DESTINATION", 13, destination((mode) => mode, hex)],
  ["TRIGGER", 7, field("trig_mode")],
  ["POLARITY", 8, field("polarity")],
  EDGES,
  ["STATE", 0, (pin, marks) => state(pin, marks, "waits for EOI (remote IRR)")],
];
const NARROW: readonly Column[] = [
  PIN,
  ["VEC", 5, field("vector")],
  ["TRIG", 6, field("trig_mode")],
  [
    "DEST",
    6,
    destination(
      (mode) => mode.slice(0, 3),
      (id) => id.toString(16).padStart(2, "0"),
    ),
  ],
  EDGES,
  ["STATE", 0, (pin, marks) => state(pin, marks, "rIRR")],
];
/** What a row of {@link WIDE} takes, with its longest everyday state. */
const WIDE_COLUMNS = 92;
/** What a row of {@link NARROW} takes; two of them, with a gap, have to fit side by side. */
const NARROW_COLUMNS = 39;

function destination(modeName: (mode: string) => string, idName: (id: number) => string) {
  return (pin: Pin, { mark }: Marks) =>
    mark(
      `${modeName(pin.entry.dest_mode)} ${idName(pin.entry.dest_id)}`,
      path(pin, "dest_mode"),
      path(pin, "dest_id"),
    );
}

/**
 * The IOAPIC in so many rows, the fullest way that fits: a row a pin, two pins a row, all but the masked
 * pins where nothing is going on, or just those where something is. Pins that are left out are counted.
 */
export function ioapicPanel(ioapic: IoapicState, room: number, marks: Marks): string[] {
  const { view, mark } = marks;
  const pins = ioapic.redirtbl.map(
    (entry, pin): Pin => ({ pin, entry, irr: pin < 32 && ((ioapic.irr >>> pin) & 1) === 1 }),
  );
  const heading = [
    view.paint.bold.cyan("ioapic"),
    `id ${mark(String(ioapic.id & 0xf), "ioapic.id")}`,
    `base ${mark(hex(ioapic.base_address, 8), "ioapic.base_address")}`,
    `irr ${mark(hex(ioapic.irr, 6), "ioapic.irr")}`,
  ].join("  ");
  const half = Math.ceil(pins.length / 2);
  const columns = view.columns >= WIDE_COLUMNS ? WIDE : NARROW;
  if (pins.length + 2 <= room) return [heading, ...rows(pins, columns, marks)];
  if (half + 2 <= room && view.columns >= 2 * NARROW_COLUMNS + 2) {
    const [left, right] = [pins.slice(0, half), pins.slice(half)].map((part) => rows(part, NARROW, marks));
    return [heading, ...sideBySide(left!, right!, view.columns)];
  }
  const shown = pins.filter((pin) => !pin.entry.mask || !isIdle(pin, marks));
  const fits = (list: readonly Pin[]) => Math.ceil(list.length / 2) + 3 <= room;
  const busy = fits(shown) ? shown : pins.filter((pin) => !isIdle(pin, marks));
  return [
    heading,
    ...(busy.length === 0 ? [] : inColumns(busy, room, columns, marks)),
    ...folded(pins.filter((pin) => !busy.includes(pin))).map((line) => view.paint.dim(line)),
  ];
}

/** One below the other where there is room, else in two columns. */
function inColumns(pins: readonly Pin[], room: number, columns: readonly Column[], marks: Marks): string[] {
  if (pins.length + 3 <= room || marks.view.columns < 2 * NARROW_COLUMNS + 2)
    return rows(pins, columns, marks);
  const half = Math.ceil(pins.length / 2);
  return sideBySide(
    rows(pins.slice(0, half), NARROW, marks),
    rows(pins.slice(half), NARROW, marks),
    marks.view.columns,
  );
}

/** A line for the pins that have no row: `… idle: 5 open, 18 masked`. */
function folded(pins: readonly Pin[]): string[] {
  const masked = pins.filter(({ entry }) => entry.mask).length;
  const words = [
    pins.length > masked && `${pins.length - masked} open`,
    masked > 0 && `${masked} masked`,
  ].filter((word) => word !== false);
  return words.length === 0 ? [] : [`… idle pins: ${words.join(", ")}`];
}

function rows(pins: readonly Pin[], columns: readonly Column[], marks: Marks): string[] {
  const line = (texts: string[]) =>
    texts.map((text, at) => (at === columns.length - 1 ? text : pad(text, columns[at]![1]))).join(" ");
  return [
    marks.view.paint.bold(line(columns.map(([head]) => head))),
    ...pins.map((pin) => crop(line(columns.map(([, , text]) => text(pin, marks))), marks.view.columns)),
  ];
}

/** Whether nothing is going on at a pin, and nothing was since the first reading. */
function isIdle({ pin, entry, irr }: Pin, { changed, edges }: Marks): boolean {
  const busy = irr || entry.remote_irr || changed(`ioapic.redirtbl[${pin}]`);
  return !busy && edges("ioapic", pin) === "-";
}

function state(pin: Pin, { view: { paint }, mark }: Marks, remoteIrr: string): string {
  const { entry, irr } = pin;
  const words = [
    irr && paint.yellow("IRR"),
    entry.remote_irr && paint.magenta(remoteIrr),
    entry.mask && paint.dim("masked"),
  ].filter((word) => word !== false);
  const text = words.length === 0 ? paint.green("open") : words.join(", ");
  return mark(text, path(pin, "mask"), path(pin, "remote_irr"));
}
