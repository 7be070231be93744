import { crop } from "./fit.ts";
import type { View } from "./view.ts";

const GAP = "  ";

/** A column whose width is known before its cells are: what is longer pushes on. The last one needs none. */
export interface FixedColumn<T> {
  head: string;
  width: number;
  right?: true;
  /** Terminals narrower than this do without it. */
  from?: number;
  text(row: T, view: View): string;
}

/** Columns whose rows can be written one by one, as they come or because there are very many. */
export class Rows<T> {
  readonly #columns: readonly FixedColumn<T>[];
  readonly #view: View;

  constructor(columns: readonly FixedColumn<T>[], view: View) {
    this.#columns = columns.filter(({ from = 0 }) => view.columns >= from);
    this.#view = view;
  }

  heading(): string {
    return this.#view.paint.bold(this.#line((column) => column.head));
  }

  /** A row, cut to the terminal, without a newline. */
  row(row: T): string {
    return this.#line((column) => column.text(row, this.#view));
  }

  #line(cell: (column: FixedColumn<T>) => string): string {
    const columns = this.#columns;
    const last = columns.length - 1;
    let line = "";
    for (let index = 0; index < last; index++) line += padded(columns[index]!, cell(columns[index]!)) + GAP;
    const end = padded(columns[last]!, cell(columns[last]!)).trimEnd();
    // A string put together of many is laid out in memory when its letters are looked at: here mostly never.
    return crop(end === "" ? line.trimEnd() : line + end, this.#view.columns);
  }
}

function padded({ width, right }: Pick<FixedColumn<never>, "width" | "right">, text: string): string {
  return right ? text.padStart(width) : text.padEnd(width);
}
