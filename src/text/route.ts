import type { Pin } from "../abi/numbers.ts";
import type { Arch } from "../arch/arch.ts";
import { type MsiRoute, type PinRoute, type Routing, routesOf } from "../vm/routing.ts";
import { table } from "./table.ts";
import type { View } from "./view.ts";

/** Where GSIs go, a row a GSI. */
export function renderRouting(routing: Routing, arch: Pick<Arch, "routing" | "msi">, view: View): string {
  const byGsi = new Map<number, string[]>();
  for (const route of routesOf(arch.routing, routing)) {
    byGsi.set(route.gsi, [...(byGsi.get(route.gsi) ?? []), destination(route, arch)]);
  }
  if (byGsi.size === 0) return "no GSI is routed anywhere\n";
  const name = routing === "default" ? "KVM's default routing" : "a routing of its own";
  const rows = [...byGsi]
    .sort(([a], [b]) => a - b)
    .map(([gsi, destinations]) => [String(gsi), destinations.join(", ")]);
  return `${view.paint.bold(name)}\n${table([{ head: "GSI", align: "right" }, { head: "TO" }], rows, view)}`;
}

/** Tells the GSIs that a routing takes to a pin, as text; a dash where there are none. */
export function gsisOf(routes: readonly PinRoute[]): (chip: string, pin: Pin) => string {
  return (chip, pin) =>
    routes
      .filter((route) => route.chip === chip && route.pin === pin)
      .map(({ gsi }) => gsi)
      .join(" ") || "-";
}

/** Where one way of a GSI goes: `ioapic pin 4`, `MSI: ...`. */
export function destination(
  route: Omit<PinRoute, "gsi"> | Omit<MsiRoute, "gsi">,
  { msi }: Pick<Arch, "msi">,
): string {
  return "msi" in route ? `MSI: ${msi.describe(route.msi)}` : `${route.chip} pin ${route.pin}`;
}
