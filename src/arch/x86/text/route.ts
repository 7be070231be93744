import { table } from "../../../text/table.ts";
import type { View } from "../../../text/view.ts";
import { type MsiRoute, type PinRoute, type Routing, routesOf } from "../routing.ts";
import { describeMsi } from "./msi.ts";

/** Where GSIs go, a row a GSI. */
export function renderRouting(routing: Routing, view: View): string {
  const byGsi = new Map<number, string[]>();
  for (const route of routesOf(routing)) {
    byGsi.set(route.gsi, [...(byGsi.get(route.gsi) ?? []), destination(route)]);
  }
  if (byGsi.size === 0) return "no GSI is routed anywhere\n";
  const name = routing === "default" ? "KVM's default routing" : "a routing of its own";
  const rows = [...byGsi]
    .sort(([a], [b]) => a - b)
    .map(([gsi, destinations]) => [String(gsi), destinations.join(", ")]);
  return `${view.paint.bold(name)}\n${table([{ head: "GSI", align: "right" }, { head: "TO" }], rows, view)}`;
}

/** Tells the GSIs that a routing takes to a pin, as text; a dash where there are none. */
export function gsisOf(routes: readonly PinRoute[]): (chip: PinRoute["chip"], pin: number) => string {
  return (chip, pin) =>
    routes
      .filter((route) => route.chip === chip && route.pin === pin)
      .map(({ gsi }) => gsi)
      .join(" ") || "-";
}

/** Where one way of a GSI goes: `ioapic pin 4`, `MSI: ...`. */
export function destination(route: Omit<PinRoute, "gsi"> | Omit<MsiRoute, "gsi">): string {
  return "msi" in route ? `MSI: ${describeMsi(route.msi)}` : `${route.chip} pin ${route.pin}`;
}
