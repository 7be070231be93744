import { printable } from "../abi/printable.ts";
import type { GuestState } from "../vm/guest.ts";
import { hex } from "./format.ts";
import { heading, table } from "./table.ts";
import type { View } from "./view.ts";

/** A guest: what it set up, and how often each vector's handler ran. */
export function renderGuest({ program, ended, handled }: GuestState, view: View): string {
  const { paint } = view;
  const state = ended === undefined ? paint.green("running") : paint.red(printable(ended));
  const head = heading(
    "Guest",
    [
      ["program", program],
      ["state", state],
    ],
    view,
  );
  const rows = handled.map(({ vector, count }) => [hex(vector), String(count)]);
  return head + table([{ head: "VECTOR" }, { head: "HANDLED", align: "right" }], rows, view);
}
