import type { Chain } from "../lives/chain.ts";
import { hex } from "./format.ts";
import type { Column } from "./table.ts";

/** What tells interrupts apart in every table: VM, line, vector, way. */
type Place = Pick<Chain, "process" | "gsi" | "vector" | "delivery_mode" | "route">;

/** A GSI, or a dash for an interrupt without a line. */
export function gsiText({ gsi }: Pick<Place, "gsi">): string {
  return gsi === null ? "-" : String(gsi);
}

/** A vector, the delivery mode of what has none, or a dash where nothing came to be known. */
export function vectorText({ vector, delivery_mode }: Pick<Place, "vector" | "delivery_mode">): string {
  return vector === null ? (delivery_mode ?? "-") : hex(vector);
}

/** The VM's process, or a dash for what no process is known of. */
export function processText({ process }: Pick<Place, "process">): string {
  return String(process ?? "-");
}

/** Whether a table needs a column for the VM. */
export function severalProcesses(places: readonly Pick<Place, "process">[]): boolean {
  return new Set(places.map(({ process }) => process)).size > 1;
}

/** The first columns of a table, and a row's cells in them. */
export function placeColumns(places: readonly Place[]): {
  columns: Column[];
  cells: (place: Place) => string[];
} {
  const several = severalProcesses(places);
  return {
    columns: [
      ...(several ? [{ head: "PROCESS", align: "right" as const }] : []),
      { head: "GSI", align: "right" },
      { head: "VECTOR", align: "right" },
      { head: "WAY" },
    ],
    cells: (place) => [
      ...(several ? [processText(place)] : []),
      gsiText(place),
      vectorText(place),
      place.route,
    ],
  };
}
