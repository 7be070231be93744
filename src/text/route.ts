import type { Pin } from "../abi/numbers.ts";
import type { Arch } from "../arch/arch.ts";
import { type PinRoute, type Route, type Routing, routesOf } from "../vm/routing.ts";
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

/** A route without the GSI that it begins with. */
type Way = Route extends infer R ? (R extends Route ? Omit<R, "gsi"> : never) : never;

/** Where one way of a GSI goes: `ioapic pin 4`, `MSI: ...`. */
export function destination(route: Way, { msi }: Pick<Arch, "msi">): string {
  if ("msi" in route) return `MSI: ${msi.describe(route.msi)}`;
  if ("hv_sint" in route) return `Hyper-V SINT ${route.hv_sint.sint} of vCPU ${route.hv_sint.vcpu}`;
  if ("xen_evtchn" in route) {
    const { vcpu, port, priority } = route.xen_evtchn;
    return `Xen event channel ${port} (vCPU ${vcpu}, priority ${priority})`;
  }
  return `${route.chip} pin ${route.pin}`;
}
