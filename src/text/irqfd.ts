import type { IrqfdState } from "../vm/irqfd.ts";
import { table } from "./table.ts";
import type { View } from "./view.ts";

/** The irqfds of a VM, a row each. */
export function renderIrqfds(irqfds: readonly IrqfdState[], view: View): string {
  if (irqfds.length === 0) return "no irqfds\n";
  return table(
    [
      { head: "GSI", align: "right" },
      { head: "KIND" },
      { head: "KICKS", align: "right" },
      { head: "RESAMPLED", align: "right" },
    ],
    irqfds.map(({ gsi, resample, kicks, resampled }) => [
      String(gsi),
      resample ? "level, resampled at EOI" : "edge",
      String(kicks),
      resampled === undefined ? "-" : String(resampled),
    ]),
    view,
  );
}
