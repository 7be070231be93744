import { crop } from "./fit.ts";
import type { View } from "./view.ts";

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
    return this.#view.paint.bold(this.#line(({ head }) => head));
  }

  /** A row, cut to the terminal, without a newline. */
  row(row: T): string {
    return this.#line((column) => column.text(row, this.#view));
  }

  #line(cell: (column: FixedColumn<T>) => string): string {
    let line = "";
    let before = "";
    for (const column of this.#columns) {
      const text = cell(column);
      const room = " ".repeat(Math.max(column.width - text.length, 0));
      line += before + (column.right ? room + text : text + room);
      before = "  ";
    }
    return crop(line.trimEnd(), this.#view.columns);
  }
}
